"""Networks to export: plain ResNets whose weights and statistics are all different."""

import torch
from mmengine.model import BaseModule
from torch import nn

from sdr_mm.export import Exported, Pretraining
from sdr_mm.images import Normalization
from sdr_mm.models.backbone import build_plain
from sdr_mm.models.eval_settings import EvalSettings
from sdr_mm.registry import MODELS

SETTINGS = EvalSettings(Normalization((120., 115., 100.), (60., 55., 50.)), resize=37, size=32, k=5)
META = dict(sdr_checkpoint='epoch_200.pth', subnet=3, path=[0, 3],
            bn_reset=dict(mode='cluster', num_images=2000, batch_size=200, seed=0, statistics='cluster 7', images=1873),
            routing=dict(task='sweet_home', score=87.25, settings=dict(columns=['knn'], metric='accuracy')))


def scatter(network, seed=0):
    """Gives a network weights and statistics that keep its features of the order of 1."""
    generator = torch.Generator().manual_seed(seed)
    for name, value in network.state_dict().items():
        if value.dim() == 4:
            value.normal_(0, (2 / value[0].numel())**0.5, generator=generator)
        elif value.dim() and name.endswith(('weight', 'running_var')):
            value.uniform_(0.5, 1.5, generator=generator)
        elif value.dim():
            value.normal_(0, 0.1, generator=generator)
    return network


def resnet(depth=18, base=8, stem=64, settings=SETTINGS, **options):
    """What leaves in an export of a ResNet of this shape."""
    config = dict(type='mmpretrain.ResNet', depth=depth, in_channels=3, stem_channels=stem, base_channels=base,
                  strides=(1, 2, 2, 2), dilations=(1, 1, 1, 1), out_indices=(3, ), style='pytorch')
    config.update({key: options.pop(key) for key in list(options) if key in config})
    options = dict(dict(meta=META, pretraining=Pretraining('SimSiamSDR', 200, 'photos', 'ImageFolder')), **options)
    return Exported(scatter(build_plain(config)), config, settings, **options)


def wanted(exported, images):
    """The features that every library has to give."""
    with torch.no_grad():
        return exported.network(images)[-1].mean((2, 3))


def close(found, exported, images):
    """Whether features are those of the network, up to the last digits."""
    expected = wanted(exported, images)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max()))


@MODELS.register_module(force=True)
class OneConvolution(BaseModule):
    """No ResNet."""

    def __init__(self, channels, init_cfg=None):
        super().__init__(init_cfg)
        self.conv, self.norm = nn.Conv2d(3, channels, 3), nn.BatchNorm2d(channels)

    def forward(self, x):
        return (self.norm(self.conv(x)), )


def no_resnet():
    """What leaves in an export of another backbone."""
    config = dict(type='OneConvolution', channels=5)
    return Exported(scatter(build_plain(config)), config, SETTINGS, META)
