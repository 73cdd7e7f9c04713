# Faster R-CNN with FPN on aerial photos of trees, for 2 CPU cores: the norms and the head of
# faster-rcnn_sdr_fpn_24k_voc0712.py, at a quarter of its width, and 300 iterations of 4 images.
#     python -m projects.real_data aerial_trees --out data
#     python tools/train.py configs/detection/faster-rcnn_resnet18_fpn_aerial_400px.py
# The backbone is a sub-net of configs/small/sdr_simsiam_resnet18_b64-15e_32px.py, exported to backbone.pth, or one of
# the same size: --cfg-options model.backbone.init_cfg.checkpoint=FILE, or model.backbone.init_cfg=None for random
# weights.
_base_ = 'mmdet::pascal_voc/faster-rcnn_r50_fpn_1x_voc0712.py'

# Any folder of VOC format works: copy this file and change these two lines. It has JPEGImages, Annotations and
# ImageSets/Main with trainval.txt and test.txt.
data_root = 'data/aerial_trees/'
classes = ('Tree', )

custom_imports = dict(imports=['sdr_mm.detection'], allow_failed_imports=False)

checkpoint = 'backbone.pth'
# On several GPUs: dict(type='SyncBN', requires_grad=True).
norm_cfg = dict(type='BN', requires_grad=True)
width = 32

model = dict(
    backbone=dict(
        depth=18,
        stem_channels=16,
        base_channels=16,
        frozen_stages=-1,
        norm_cfg=norm_cfg,
        norm_eval=False,
        init_cfg=dict(_delete_=True, type='Pretrained', _scope_='sdr_mm', checkpoint=checkpoint)),
    neck=dict(in_channels=[16, 32, 64, 128], out_channels=width, norm_cfg=norm_cfg),
    rpn_head=dict(in_channels=width, feat_channels=width),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=width),
        bbox_head=dict(
            type='Shared4Conv1FCBBoxHead',
            num_classes=len(classes),
            in_channels=width,
            conv_out_channels=width,
            fc_out_channels=256,
            norm_cfg=norm_cfg)),
    train_cfg=dict(rpn_proposal=dict(nms_pre=500, max_per_img=250), rcnn=dict(sampler=dict(num=64))),
    test_cfg=dict(rpn=dict(nms_pre=500, max_per_img=250)))

side = 400
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='RandomChoiceResize', scales=[(2 * side, side * part // 100) for part in (80, 90, 100)], keep_ratio=True),
    dict(type='RandomFlip', prob=[0.25, 0.25, 0.25], direction=['horizontal', 'vertical', 'diagonal']),
    dict(type='PackDetInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(2 * side, side), keep_ratio=True),
    # After the resize, so that the true boxes stay in the pixels of the image file.
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')),
]
train_dataloader = dict(
    batch_size=4,
    num_workers=1,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        _delete_=True,
        type='sdr_mm.VOCFolder',
        data_root=data_root,
        metainfo=dict(classes=classes),
        ann_file='ImageSets/Main/trainval.txt',
        filter_cfg=dict(filter_empty_gt=True, min_size=32),
        pipeline=train_pipeline))
val_dataloader = dict(
    num_workers=1,
    dataset=dict(
        _delete_=True,
        type='sdr_mm.VOCFolder',
        data_root=data_root,
        metainfo=dict(classes=classes),
        ann_file='ImageSets/Main/test.txt',
        test_mode=True,
        pipeline=test_pipeline))
test_dataloader = val_dataloader

val_evaluator = dict(_delete_=True, type='sdr_mm.VOCDetectionMetric')
test_evaluator = val_evaluator

max_iters = 300
train_cfg = dict(_delete_=True, type='IterBasedTrainLoop', max_iters=max_iters, val_interval=max_iters)
optim_wrapper = dict(optimizer=dict(lr=0.02), clip_grad=dict(max_norm=10))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=50),
    dict(
        type='MultiStepLR',
        by_epoch=False,
        begin=0,
        end=max_iters,
        milestones=[max_iters * 3 // 4, max_iters * 11 // 12],
        gamma=0.1),
]
auto_scale_lr = dict(base_batch_size=4)
default_hooks = dict(logger=dict(interval=20), checkpoint=dict(by_epoch=False, interval=100, max_keep_ckpts=2))
log_processor = dict(by_epoch=False, window_size=20)
randomness = dict(seed=0)
