# SDR on SimSiam: ImageNet, 8 GPUs x 32 images, 200 epochs, 256 sub-nets (section 5.1 of the paper).
# Data, views and schedule are those of the baseline; clusters.npz comes from tools/cluster.py.
_base_ = 'simsiam.py'

norm = dict(type='SyncBN')

model = dict(
    _delete_=True,
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

train_dataloader = dict(
    # The batch sampler takes the data set, the seed and the batch size from the inherited settings.
    drop_last=False,
    batch_sampler=dict(type='ClusterAwareSampler'),
    dataset=dict(
        _delete_=True,
        type='ClusterDataset',
        clusters='work_dirs/clusters.npz',
        dataset={{_base_.train_dataloader.dataset}}))

optim_wrapper = dict(type='SubnetOptimWrapper', _scope_='sdr_mm')

train_cfg = dict(type='SDRTrainLoop', _scope_='sdr_mm')

custom_hooks = [
    dict(type='ProgressiveTrainingHook'),
    dict(type='SubnetStepHook'),
    dict(type='FixedLRHook'),
    dict(type='CollapseMonitorHook'),
    dict(type='SkipCountHook'),
]
