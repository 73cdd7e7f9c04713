# SDR on SimSiam: 4 groups x 4 blocks, 256 sub-nets that are ResNet-50, and SiamKD (eq. 4).
norm = dict(type='SyncBN')

model = dict(
    type='SimSiamSDR',
    backbone=dict(type='SDRResNet', depth=50, base_channels=(52, 12), num_groups=4, norm_cfg=norm),
    neck=dict(
        type='SDRNonLinearNeck',
        hid_channels=2048,
        out_channels=2048,
        num_layers=3,
        with_last_bn_affine=False,
        norm_cfg=norm),
    head=dict(
        type='LatentPredictHead',
        loss=dict(type='CosineSimilarityLoss'),
        predictor=dict(
            type='SDRNonLinearNeck',
            in_channels=2048,
            hid_channels=512,
            out_channels=2048,
            with_avg_pool=False,
            with_last_bn=False,
            with_last_bias=True,
            norm_cfg=norm)),
    distillation=dict(type='SiamKDLoss'))

# The predictor's learning rate stays constant, see FixedLRHook.
paramwise_cfg = dict(custom_keys={'predictor': dict(fix_lr=True)})
