_base_ = 'mmpretrain::_base_/default_runtime.py'

custom_imports = dict(imports=['sdr_mm'])
default_scope = 'sdr_mm'
default_hooks = dict(checkpoint=dict(interval=10, max_keep_ckpts=3))
