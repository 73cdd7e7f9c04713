"""SDRNets, the algorithms that train them, and what they distill with."""

from .backbone import SDRBackbone
from .batched_colors import BatchedColors
from .batched_views import BatchedViews
from .byol_sdr import BYOLSDR
from .checkpoint_loaders import guard_mmengine
from .distillation import L2KDLoss, SiamKDLoss
from .pretrained import ExactPretrainedInit
from .safe_globals import allow_checkpoints
from .sdr_neck import SDRNonLinearNeck
from .sdr_resnet import SDRResNet
from .siamese import SiameseSDR
from .simclr_sdr import SimCLRSDR
from .simsiam_sdr import SimSiamSDR
from .sliced import ChannelLayout, subnet_state_dict
from .warm_start import warm_start

__all__ = [
    'BYOLSDR', 'BatchedColors', 'BatchedViews', 'ChannelLayout', 'ExactPretrainedInit', 'L2KDLoss', 'SDRBackbone',
    'SDRNonLinearNeck', 'SDRResNet', 'SiamKDLoss', 'SiameseSDR', 'SimCLRSDR', 'SimSiamSDR', 'subnet_state_dict',
    'warm_start'
]

allow_checkpoints()
guard_mmengine()
