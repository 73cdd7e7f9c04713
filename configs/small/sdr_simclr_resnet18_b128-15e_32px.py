# SDR on SimCLR, a contrastive loss for runs of minutes on two cores; otherwise as SDR on SimSiam.
#     python tools/train.py configs/small/sdr_simclr_resnet18_b128-15e_32px.py --data FOLDER --clusters clusters.npz
# With --init-from baseline.pth every sub-net starts as a copy of the baseline that the clusters come from.
_base_ = 'sdr_simsiam_resnet18_b64-15e_32px.py'

model = dict(
    type='SimCLRSDR',
    head=dict(_delete_=True, type='ContrastiveHead', loss=dict(type='CrossEntropyLoss'), temperature=0.2))
train_dataloader = dict(batch_size=128)
optim_wrapper = dict(optimizer=dict(lr=0.1))
