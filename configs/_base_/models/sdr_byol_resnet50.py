# SDR on BYOL: 4 groups x 4 blocks, 256 sub-nets that are ResNet-50, and SiamKD (eq. 4).
norm = dict(type='SyncBN')

model = dict(
    type='BYOLSDR',
    base_momentum=0.01,
    backbone=dict(
        type='SDRResNet', depth=50, base_channels=(52, 12), num_groups=4, norm_cfg=norm, zero_init_residual=False),
    neck=dict(
        type='SDRNonLinearNeck',
        hid_channels=4096,
        out_channels=256,
        num_layers=2,
        with_bias=True,
        with_last_bn=False,
        norm_cfg=norm),
    head=dict(
        type='LatentPredictHead',
        loss=dict(type='CosineSimilarityLoss'),
        predictor=dict(
            type='SDRNonLinearNeck',
            in_channels=256,
            hid_channels=4096,
            out_channels=256,
            num_layers=2,
            with_bias=True,
            with_last_bn=False,
            with_avg_pool=False,
            norm_cfg=norm)),
    distillation=dict(type='SiamKDLoss'))
