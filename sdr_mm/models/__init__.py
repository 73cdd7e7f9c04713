"""SDRNets, the algorithms that train them, and what they distil with."""

from .distillation import L2KDLoss, SiamKDLoss
from .pretrained import ExactPretrainedInit
from .sdr_neck import SDRNonLinearNeck
from .sdr_resnet import SDRResNet
from .simsiam_sdr import SimSiamSDR
from .sliced import ChannelLayout, subnet_state_dict

__all__ = [
    'ChannelLayout', 'ExactPretrainedInit', 'L2KDLoss', 'SDRNonLinearNeck', 'SDRResNet', 'SiamKDLoss', 'SimSiamSDR',
    'subnet_state_dict'
]
