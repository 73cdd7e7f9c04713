# SDR-IN (Table 3): each sub-net trains on the images of all clusters, all else is as in SDR.
_base_ = '../sdr_simsiam.py'

train_dataloader = dict(dataset=dict(share_images=True))
