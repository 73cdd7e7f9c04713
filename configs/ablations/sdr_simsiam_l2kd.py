# The L2 distillation in place of SiamKD (section 5.3).
_base_ = '../sdr_simsiam.py'

model = dict(distillation=dict(type='L2KDLoss'))
