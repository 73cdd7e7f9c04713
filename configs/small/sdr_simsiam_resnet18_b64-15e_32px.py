# SDR for a few thousand small images on a CPU: 16 sub-nets, each of the baseline's size.
#     python tools/train.py configs/small/sdr_simsiam_resnet18_b64-15e_32px.py --data FOLDER --clusters clusters.npz
_base_ = 'simsiam_resnet18_b64-15e_32px.py'

norm = dict(type='BN')

model = dict(
    _delete_=True,
    type='SimSiamSDR',
    backbone=dict(
        type='SDRResNet',
        depth=18,
        stem_channels=16,
        base_channels=(12, 4),
        num_groups=4,
        routed_blocks=(2, 3),
        norm_cfg=norm,
        zero_init_residual=False),
    neck=dict(
        type='SDRNonLinearNeck',
        hid_channels=512,
        out_channels=512,
        num_layers=3,
        with_last_bn_affine=False,
        norm_cfg=norm),
    head=dict(
        type='LatentPredictHead',
        loss=dict(type='CosineSimilarityLoss'),
        predictor=dict(
            type='SDRNonLinearNeck',
            in_channels=512,
            hid_channels=128,
            out_channels=512,
            with_avg_pool=False,
            with_last_bn=False,
            with_last_bias=True,
            norm_cfg=norm)),
    distillation=dict(type='SiamKDLoss'))

train_dataloader = dict(
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
