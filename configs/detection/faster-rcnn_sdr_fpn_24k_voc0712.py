# Faster R-CNN with FPN on PASCAL VOC (section 5.2, Table 2 and appendix A of the paper): an exported sub-net as the
# backbone, all layers trained, SyncBN everywhere. 8 GPUs x 2 images, 24k iterations.
#     python tools/export_subnet.py CHECKPOINT --path 0,3,1,2 --out backbone.pth
#     bash tools/dist_train.sh configs/detection/faster-rcnn_sdr_fpn_24k_voc0712.py 8
#     mim train onedl-mmdetection configs/detection/faster-rcnn_sdr_fpn_24k_voc0712.py --gpus 8 --launcher pytorch
#
# The other rows of Table 2 are the same config with another checkpoint, in any layout that publishers use:
#     --cfg-options model.backbone.init_cfg.checkpoint=simsiam.pth
# and without a checkpoint, from random weights:
#     --cfg-options model.backbone.init_cfg=None
_base_ = 'mmdet::pascal_voc/faster-rcnn_r50_fpn_1x_voc0712.py'

custom_imports = dict(imports=['sdr_mm.detection'], allow_failed_imports=False)

# What tools/export_subnet.py wrote. With _scope_, a weight that is missing or of another shape stops the run.
checkpoint = 'backbone.pth'
norm_cfg = dict(type='SyncBN', requires_grad=True)

model = dict(
    # mean, std and style of MMDetection's base are those of the pre-training and of the export: RGB, ImageNet's,
    # the stride in the 3x3 convolution.
    backbone=dict(
        frozen_stages=-1,
        norm_cfg=norm_cfg,
        norm_eval=False,
        init_cfg=dict(_delete_=True, type='Pretrained', _scope_='sdr_mm', checkpoint=checkpoint)),
    neck=dict(norm_cfg=norm_cfg),
    # detectron2's head where norms are synchronized: 4 convolutions with a norm, then 1 linear layer. A linear layer
    # has none, nor has the RPN, there as here.
    roi_head=dict(bbox_head=dict(type='Shared4Conv1FCBBoxHead', norm_cfg=norm_cfg)))

# Data: trainval of 2007 and 2012, short side 480, 512, …, 800; test of 2007, short side 800.
data_root = 'data/VOCdevkit/'
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='RandomChoiceResize', scales=[(1333, side) for side in range(480, 801, 32)], keep_ratio=True),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackDetInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(1333, 800), keep_ratio=True),
    # After the resize, so that the true boxes stay in the pixels of the image file.
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')),
]
train_dataloader = dict(
    batch_size=2,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        _delete_=True,
        type='ConcatDataset',
        # Each half says of which year it is; they may differ.
        ignore_keys=['dataset_type'],
        datasets=[
            dict(
                type='sdr_mm.VOCFolder',
                data_root=data_root,
                ann_file=f'VOC{year}/ImageSets/Main/trainval.txt',
                data_prefix=dict(sub_data_root=f'VOC{year}/'),
                filter_cfg=dict(filter_empty_gt=True, min_size=32),
                pipeline=train_pipeline) for year in (2007, 2012)
        ]))
val_dataloader = dict(dataset=dict(type='sdr_mm.VOCFolder', data_root=data_root, pipeline=test_pipeline))
test_dataloader = val_dataloader

# AP is the mean over IoU 0.50:0.05:0.95 with the 11-point rule, beside AP50 and AP75.
val_evaluator = dict(_delete_=True, type='sdr_mm.VOCDetectionMetric')
test_evaluator = val_evaluator

# Schedule.
max_iters = 24000
train_cfg = dict(_delete_=True, type='IterBasedTrainLoop', max_iters=max_iters, val_interval=3000)
optim_wrapper = dict(optimizer=dict(lr=0.02))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=100),
    dict(type='MultiStepLR', by_epoch=False, begin=0, end=max_iters, milestones=[18000, 22000], gamma=0.1),
]
default_hooks = dict(checkpoint=dict(by_epoch=False, interval=3000, max_keep_ckpts=2))
log_processor = dict(by_epoch=False)
