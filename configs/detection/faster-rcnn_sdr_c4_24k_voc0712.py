# Faster R-CNN of the C4 kind on PASCAL VOC, the transfer protocol of MoCo: the last stage of the ResNet is the head,
# with one more norm after it. 8 GPUs x 2 images, 24k iterations.
#     bash tools/dist_train.sh configs/detection/faster-rcnn_sdr_c4_24k_voc0712.py 8
# The checkpoint starts two parts of the detector, and each takes its stages. Change it below, or give both:
#     --cfg-options model.backbone.init_cfg.checkpoint=FILE model.roi_head.shared_head.init_cfg.checkpoint=FILE
# MMDetection's C4 head is that of a ResNet of base width 64, so this is for sub-nets of the layout (52, 12).
_base_ = 'mmdet::pascal_voc/faster-rcnn_r50-caffe-c4_ms-18k_voc0712.py'

custom_imports = dict(imports=['sdr_mm.detection'], allow_failed_imports=False)

checkpoint = 'backbone.pth'
norm_cfg = dict(type='SyncBN', requires_grad=True)
init_cfg = dict(_delete_=True, type='Pretrained', _scope_='sdr_mm', checkpoint=checkpoint)

model = dict(
    # Of the export, not of MMDetection's base, which is a Caffe model: BGR, not scaled, stride in the 1x1 convolution.
    data_preprocessor=dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True),
    backbone=dict(frozen_stages=-1, norm_cfg=norm_cfg, norm_eval=False, style='pytorch', init_cfg=init_cfg),
    roi_head=dict(
        shared_head=dict(
            type='sdr_mm.ExtraNormResLayer', norm_cfg=norm_cfg, norm_eval=False, style='pytorch', init_cfg=init_cfg)))

# The pipelines of the base have the sizes of the protocol: 480, 512, …, 800, and 800.
train_dataloader = dict(
    batch_size=2,
    dataset=dict(
        ignore_keys=['dataset_type'],
        datasets=[dict(half, type='sdr_mm.VOCFolder') for half in _base_.train_dataloader.dataset.datasets]))
val_dataloader = dict(dataset=dict(type='sdr_mm.VOCFolder'))
test_dataloader = val_dataloader

val_evaluator = dict(_delete_=True, type='sdr_mm.VOCDetectionMetric')
test_evaluator = val_evaluator

max_iter = 24000
train_cfg = dict(max_iters=max_iter, val_interval=3000)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=100),
    dict(type='MultiStepLR', by_epoch=False, begin=0, end=max_iter, milestones=[18000, 22000], gamma=0.1),
]
default_hooks = dict(checkpoint=dict(max_keep_ckpts=2))
