"""The released weights of the networks that tables 1 and 2 of the paper compare with.

The paper follows ssl-transfer (Ericsson et al. 2021), whose list of files this is, but for the epochs of
DeepCluster-v2 and SwAV, which the paper gives as 400, and for SimSiam and BYOL, which its authors trained
themselves: there stand the released weights of the nearest training.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import InputError


@dataclass(frozen=True)
class Baseline:
    """A released ResNet-50."""

    name: str  # In ``baseline:NAME@FILE`` too.
    row: str  # What tables 1 and 2 of the paper call it.
    row_epochs: int  # Epochs of pre-training according to table 1.
    epochs: int  # Epochs of pre-training of the file.
    file: str  # Its name.
    page: str  # Where its publisher offers it.
    layout: str  # Name of one of :data:`sdr_mm.models.publishers.LAYOUTS`.
    prepare: str = ''  # What to do with the download before it can be read.
    zero_to_one: bool = False  # Whether it was trained on images from 0 to 1, not normalized.
    note: str = ''  # What else to know about its numbers.


_MOCO, _SWAV = 'github.com/facebookresearch/moco', 'github.com/facebookresearch/swav'
_PYCONTRAST = 'github.com/HobbitLong/PyContrast, docs/MODEL_ZOO.md'
_PCL, _SIMCLR = 'github.com/salesforce/PCL', 'github.com/google-research/simclr'
_MMPRETRAIN = 'github.com/open-mmlab/mmpretrain'
_TENSORFLOW = 'published for TensorFlow; the converters report 0.2 to 0.7 points less on ImageNet than the original'

BASELINES = (
    Baseline('Supervised', 'Supervised', 90, 90, 'resnet50-0676ba61.pth',
             'pytorch.org/vision, ResNet50_Weights.IMAGENET1K_V1', 'torchvision'),
    Baseline('InsDis', 'InsDis', 200, 200, 'InsDis.pth', _PYCONTRAST, 'SimSiam or PyContrast'),
    Baseline('MoCo-v1', 'MoCo-v1', 200, 200, 'moco_v1_200ep_pretrain.pth.tar', _MOCO, 'MoCo'),
    Baseline('PIRL', 'PIRL', 200, 200, 'PIRL.pth', _PYCONTRAST, 'SimSiam or PyContrast'),
    Baseline('PCL-v1', 'PCL-v1', 200, 200, 'PCL_v1_epoch200.pth.tar', _PCL, 'MoCo'),
    Baseline('PCL-v2', 'PCL-v2', 200, 200, 'PCL_v2_epoch200.pth.tar', _PCL, 'MoCo'),
    Baseline('MoCo-v2', 'MoCo-v2', 800, 800, 'moco_v2_800ep_pretrain.pth.tar', _MOCO, 'MoCo'),
    Baseline('SimCLR-v1', 'SimCLR-v1', 1000, 1000, 'resnet50-1x.pth', f'{_SIMCLR}, ResNet50_1x.zip', 'torchvision',
             prepare='convert it with github.com/tonylins/simclr-converter', zero_to_one=True, note=_TENSORFLOW),
    Baseline('SimCLR-v2', 'SimCLR-v2', 800, 800, 'r50_1x_sk0.pth', f'{_SIMCLR}, simclrv2/pretrained/r50_1x_sk0',
             'SimCLRv2-Pytorch', prepare='convert it with github.com/Separius/SimCLRv2-Pytorch', zero_to_one=True,
             note=_TENSORFLOW),
    Baseline('InfoMin', 'InfoMin', 800, 800, 'InfoMin_800.pth', _PYCONTRAST, 'SimSiam or PyContrast'),
    Baseline('SeLa-v2', 'SeLa-v2', 400, 400, 'selav2_400ep_pretrain.pth.tar', _SWAV, 'torchvision'),
    Baseline('DeepCluster-v2', 'DeepCluster-v2', 400, 400, 'deepclusterv2_400ep_pretrain.pth.tar', _SWAV,
             'torchvision'),
    Baseline('SwAV', 'SwAV', 400, 400, 'swav_400ep_pretrain.pth.tar', _SWAV, 'torchvision'),
    Baseline('SimSiam', 'SimSiam', 200, 200, 'simsiam_resnet50_8xb32-coslr-200e_in1k_20220825-efe91299.pth',
             _MMPRETRAIN, 'OpenMMLab', note="MMPretrain's training, not the paper's"),
    Baseline('SimSiam-100', 'SimSiam', 200, 100, 'checkpoint_0099.pth.tar', 'github.com/facebookresearch/simsiam',
             'SimSiam or PyContrast', note="its authors' training, half as long as the paper's"),
    Baseline('BYOL-200', 'BYOL', 200, 200, 'byol_resnet50_16xb256-coslr-200e_in1k_20220825-de817331.pth', _MMPRETRAIN,
             'OpenMMLab', note="MMPretrain's training, not the paper's"),
    Baseline('BYOL', 'BYOL', 400, 1000, 'pretrain_res50x1.pth.tar',
             'github.com/google-deepmind/deepmind-research, byol, pretrain_res50x1.pkl', 'torchvision',
             prepare='convert it with github.com/chigur/byol-convert',
             note="its authors' training, longer than the paper's; it was trained with padding on one side where a "
                  'plain ResNet pads on both, for which its converter reports about 70 instead of 74.6 on ImageNet'),
)


def find_baseline(name: str) -> Baseline:
    """The baseline of this name, in any case.

    Raises:
        InputError: If there is none.
    """
    found: Baseline | None = next((row for row in BASELINES if row.name.lower() == name.lower()), None)
    if found is None:
        raise InputError(f'there is no baseline {name!r}: the known ones are '
                         f'{", ".join(row.name for row in BASELINES)}')
    return found
