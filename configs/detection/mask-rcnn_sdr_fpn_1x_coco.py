# Mask R-CNN with FPN on COCO: an exported sub-net as the backbone, all layers trained, SyncBN in backbone, neck and
# heads, short side 640, 672, …, 800. 8 GPUs x 2 images, MMDetection's 1x schedule (12 epochs). AP is COCO's own.
#     bash tools/dist_train.sh configs/detection/mask-rcnn_sdr_fpn_1x_coco.py 8
_base_ = 'mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py'

custom_imports = dict(imports=['sdr_mm.detection'], allow_failed_imports=False)

checkpoint = 'backbone.pth'
norm_cfg = dict(type='SyncBN', requires_grad=True)

model = dict(
    backbone=dict(
        frozen_stages=-1,
        norm_cfg=norm_cfg,
        norm_eval=False,
        init_cfg=dict(_delete_=True, type='Pretrained', _scope_='sdr_mm', checkpoint=checkpoint)),
    neck=dict(norm_cfg=norm_cfg),
    roi_head=dict(
        bbox_head=dict(type='Shared4Conv1FCBBoxHead', norm_cfg=norm_cfg),
        mask_head=dict(norm_cfg=norm_cfg)))

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(type='RandomChoiceResize', scales=[(1333, side) for side in range(640, 801, 32)], keep_ratio=True),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackDetInputs'),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
