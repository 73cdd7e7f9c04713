"""Under which names publishers of ResNets store their weights.

The facts are from the code that wrote the files: facebookresearch/moco, /moco-v3, /simsiam and /swav,
salesforce/PCL, HobbitLong/PyContrast (InsDis, PIRL, InfoMin), open-mmlab/mmselfsup (branches 0.x and 1.x),
tonylins/simclr-converter, Separius/SimCLRv2-Pytorch and chigur/byol-convert.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

DATA_PARALLEL = 'module.'
"""What PyTorch's data parallelism puts before every name."""

_NORM = r'(weight|bias|running_mean|running_var|num_batches_tracked)'
_BLOCK = r'net\.([1-4])\.blocks\.(\d+)\.'
_BACKBONE = re.compile(r'(conv1\.weight|bn1\.' + _NORM + r'|layer[1-4]\.\d+\.(conv[123]\.weight|bn[123]\.' + _NORM +
                       r'|downsample\.0\.weight|downsample\.1\.' + _NORM + r'))')
# The first of them tells a ResNet from other networks, the second from a part of one.
_EVIDENCE = ('conv1.weight', 'layer1.0.conv1.weight')


@dataclass(frozen=True)
class Layout:
    """How one family of publishers names the weights."""

    name: str  # For messages and tables.
    prefix: str  # What stands before the names of the backbone.
    # Regular expression of the first parts of the names of everything else that such a file may hold: heads, queues,
    # momentum encoders and teachers.
    beside: str
    # Pairs of a regular expression and a replacement that turn the names of the backbone into a stock ResNet's.
    renames: tuple[tuple[str, str], ...] = ()
    zero_to_one: bool = False  # Whether the networks were trained on images from 0 to 1, not normalized.
    hint: str = 'give a checkpoint of a plain ResNet'  # What to do about weights that do not fit.

    def stock_name(self, key: str) -> str | None:
        """What a stock ResNet calls the weight ``key``; None if it has no such weight."""
        if not key.startswith(self.prefix):
            return None
        key = key[len(self.prefix):]
        for pattern, replacement in self.renames:
            renamed, count = re.subn(rf'^{pattern}$', replacement, key)
            if count:
                return renamed
        return key if not self.renames and _BACKBONE.fullmatch(key) else None

    def is_beside(self, key: str) -> bool:
        """Whether ``key`` is a known part of such files that is not the backbone's."""
        return re.match(rf'({self.beside})(\.|$)', key) is not None


_HEADS = 'fc|linear|classifier|head|projection_head|projector|predictor|prototypes'

OPENMMLAB = Layout(
    'OpenMMLab', 'backbone.',
    # MMSelfSup 0.x has the backbone a second time, as the first of two parts of encoder_q, online_net or encoder.
    rf'neck|\w*_?head|data_preprocessor|encoder_q\.[01]|encoder_k|online_net|encoder\.[01]|target_net|'
    rf'momentum_encoder|teacher|target_generator|distillation|memory_bank|loss_weight|queue2?|queue2?_ptr|{_HEADS}')

LAYOUTS = (
    OPENMMLAB,
    Layout('MoCo', 'encoder_q.', r'encoder_q\.fc|encoder_k|queue|queue_ptr'),  # PCL too
    Layout('MoCo v3', 'base_encoder.', r'base_encoder\.fc|momentum_encoder|predictor'),
    # PyContrast: head is the projection, head_jig and jigsaw are PIRL's branch of shuffled patches.
    Layout('SimSiam or PyContrast', 'encoder.', r'encoder\.fc|predictor|head|head_jig|jigsaw'),
    # Stem, blocks and shortcuts are those of a plain ResNet with the stride in the second convolution.
    Layout('SimCLRv2-Pytorch', '', 'fc', (
        (r'net\.0\.0\.weight', r'conv1.weight'),
        (r'net\.0\.1\.0\.' + _NORM, r'bn1.\1'),
        # Convolutions are the parts 0, 2 and 4 of a block, and 1, 3 and 5 begin with a norm.
        *((rf'{_BLOCK}net\.{2 * i}\.weight', rf'layer\1.\2.conv{i + 1}.weight') for i in range(3)),
        *((rf'{_BLOCK}net\.{2 * i + 1}\.0\.{_NORM}', rf'layer\1.\2.bn{i + 1}.\3') for i in range(3)),
        (_BLOCK + r'projection\.shortcut\.weight', r'layer\1.\2.downsample.0.weight'),
        (_BLOCK + r'projection\.bn\.0\.' + _NORM, r'layer\1.\2.downsample.1.\3'),
    ), zero_to_one=True, hint='a plain ResNet has no selective kernels (sk1): give a model without them (sk0)'),
    # SwAV, DeepCluster-v2, SeLa-v2, simclr-converter, byol-convert, timm, tools/export_subnet.py too
    Layout('torchvision', '', _HEADS),
)


class LayoutMatch(NamedTuple):
    """Where each weight of a file belongs; see :func:`match_layout`."""

    layout: Layout  # The layout that was recognized.
    prefix: str  # All that stands before the names of the backbone.
    backbone: dict[str, str]  # For each key of the backbone, what a stock ResNet calls it.
    dropped: list[str]  # Keys of heads, queues, momentum encoders and the like.
    unplaced: list[str]  # Keys that are neither.


def match_layout(keys: Iterable[str]) -> LayoutMatch | None:
    """Recognizes the layout of a file from the names of all its weights; None if it holds no ResNet in a known one."""
    keys = list(keys)
    wrapper = DATA_PARALLEL if keys and all(key.startswith(DATA_PARALLEL) for key in keys) else ''
    names = {key: key[len(wrapper):] for key in keys}
    for layout in LAYOUTS:
        stock = {key: layout.stock_name(name) for key, name in names.items()}
        backbone = {key: name for key, name in stock.items() if name is not None}
        if not set(_EVIDENCE) <= set(backbone.values()):
            continue
        dropped = [key for key in keys if key not in backbone and layout.is_beside(names[key])]
        unplaced = [key for key in keys if key not in backbone and not layout.is_beside(names[key])]
        return LayoutMatch(layout, wrapper + layout.prefix, backbone, dropped, unplaced)
    return None
