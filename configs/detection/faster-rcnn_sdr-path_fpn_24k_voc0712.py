# The same detector on a sub-net that was not exported: SDRResNet with a path is that sub-net and nothing else, and
# takes its weights from the checkpoint of pre-training. The BN statistics it starts with are the super-net's; they
# follow the batches from the first iteration on.
#     bash tools/dist_train.sh configs/detection/faster-rcnn_sdr-path_fpn_24k_voc0712.py 8 \
#         --cfg-options model.backbone.path="(3,1,0,2)"
_base_ = 'faster-rcnn_sdr_fpn_24k_voc0712.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='sdr_mm.SDRResNet',
        path=(0, 3, 1, 2),
        out_indices=(0, 1, 2, 3),
        norm_cfg=_base_.norm_cfg,
        init_cfg=dict(type='Pretrained', _scope_='sdr_mm', checkpoint='work_dirs/sdr_simsiam/epoch_200.pth')))
