"""Sub-nets for other libraries: every format, and the model card."""

from .exported import Exported
from .formats import FORMATS, export
from .loading import how_to_load
from .model_card import model_card
from .pretraining import Pretraining
from .torchvision_resnet import torchvision_resnet

__all__ = ['FORMATS', 'Exported', 'Pretraining', 'export', 'how_to_load', 'model_card', 'torchvision_resnet']
