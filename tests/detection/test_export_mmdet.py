"""MMDetection takes a sub-net as its backbone."""

import pytest
import torch

from sdr_mm.models import SDRResNet
from sdr_mm.routing import export_subnet, extract_subnet


@pytest.mark.ops
@pytest.mark.parametrize('depth', [18, 50])
def test_mmdetection_loads_every_key(depth, tmp_path):
    from mmdet.models.backbones import ResNet
    from mmengine.runner import load_checkpoint
    backbone = SDRResNet(depth=depth, base_channels=(6, 2), num_groups=2, routed_blocks=(2, 3), stem_channels=8)
    backbone.init_weights()
    subnet = extract_subnet(backbone, (1, 0))
    config = backbone.subnet_config()
    export_subnet(subnet, tmp_path / 'x.pth', config=config)
    stock = ResNet(
        depth=depth, base_channels=config['base_channels'], stem_channels=config['stem_channels'], out_indices=(3, ),
        norm_eval=False)
    load_checkpoint(stock, str(tmp_path / 'x.pth'), strict=True)
    stock.eval()
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(stock(x)[-1], subnet(x)[-1])
