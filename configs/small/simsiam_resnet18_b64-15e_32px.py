# SimSiam for a few thousand small images on a CPU: a quarter of ResNet-18's width at 32 px.
#     python tools/train.py configs/small/simsiam_resnet18_b64-15e_32px.py --data FOLDER
_base_ = '../simsiam.py'

epochs = 15
channels_last = True
norm = dict(type='BN')

model = dict(
    # Residual branches that begin at zero come too late in a run of some hundred iterations.
    backbone=dict(depth=18, stem_channels=16, base_channels=16, norm_cfg=norm, zero_init_residual=False),
    neck=dict(in_channels=128, hid_channels=512, out_channels=512, norm_cfg=dict(type='BN1d')),
    head=dict(predictor=dict(in_channels=512, hid_channels=128, out_channels=512, norm_cfg=dict(type='BN1d'))))

# Color and place say much about small pictures, so color is changed little and place a lot.
view_pipeline = [
    dict(type='RandomResizedCrop', scale=32, crop_ratio_range=(0.1, 1.), backend='cv2'),
    dict(type='RandomFlip', prob=0.5),
    dict(type='sdr_mm.ColorJitter', brightness=0.1, contrast=0.1, saturation=0.1),
]
train_pipeline = [
    dict(type='sdr_mm.LoadImage'),
    dict(type='MultiView', num_views=2, transforms=[view_pipeline]),
    dict(type='PackInputs'),
]
train_dataloader = dict(
    batch_size=64,
    num_workers=1,
    dataset=dict(_delete_=True, type='ImageFolder', data_root='data/images', pipeline=train_pipeline))

optim_wrapper = dict(optimizer=dict(lr=0.05, weight_decay=5e-4))
param_scheduler = [dict(type='CosineAnnealingLR', T_max=epochs, end=epochs, by_epoch=True, convert_to_iter_based=True)]
train_cfg = dict(max_epochs=epochs)
default_hooks = dict(checkpoint=dict(interval=5), logger=dict(interval=20))
randomness = dict(seed=0)
