"""Under which names publishers of ResNets store their weights.

The facts are from the code that wrote the files: facebookresearch/moco, /moco-v3, /simsiam and /swav,
salesforce/PCL, HobbitLong/PyContrast (InsDis, PIRL, InfoMin), open-mmlab/mmselfsup (branches 0.x and 1.x),
tonylins/simclr-converter, Separius/SimCLRv2-Pytorch, chigur/byol-convert, vturrisi/solo-learn, lightly-ai/lightly,
facebookresearch/vissl and /dino.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

DATA_PARALLEL = 'module.'
"""What PyTorch's data parallelism puts before every name."""

COMPILED = '_orig_mod.'
"""What ``torch.compile`` puts before the names of the module that was compiled, which may be a part of the network."""

HOLDERS = (('classy_state_dict', 'base_model', 'model', 'trunk'), ('state_dict', ), ('model', ), ('model_state_dict', ),
           ('resnet', ), ('teacher', ), ('student', ))
"""Where in a checkpoint the weights may be, the first one that is there: VISSL's, most people's, SimCLRv2-Pytorch's and
DINO's, which evaluates its teacher."""

_NORM = r'(weight|bias|running_mean|running_var|num_batches_tracked)'
_BLOCK = r'net\.([1-4])\.blocks\.(\d+)\.'
_BLOCK_PART = r'\d+\.(?:conv[123]\.weight|bn[123]\.' + _NORM + r'|downsample\.0\.weight|downsample\.1\.' + _NORM + ')'
_BACKBONE = re.compile(r'(conv1\.weight|bn1\.' + _NORM + r'|layer[1-4]\.' + _BLOCK_PART + ')')
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
    # solo-learn and lightly call the backbone so too, and the moving average momentum_… and …_momentum.
    rf'neck|\w*_?head|data_preprocessor|encoder_q\.[01]|encoder_k|online_net|encoder\.[01]|target_net|'
    rf'momentum_encoder|teacher|target_generator|distillation|memory_bank|loss_weight|queue2?|queue2?_ptr|'
    rf'backbone\.fc|momentum_\w+|\w+_momentum|criterion|online_classifier|{_HEADS}')

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
    *(Layout('lightly', prefix, OPENMMLAB.beside, (
        # A torchvision ResNet's children without fc in a row: 2, 3 and 8 have no weights.
        (r'0\.weight', 'conv1.weight'),
        (r'1\.' + _NORM, r'bn1.\1'),
        *((rf'{stage + 3}\.({_BLOCK_PART})', rf'layer{stage}.\1') for stage in range(1, 5)),
    )) for prefix in ('backbone.', '')),
    Layout('VISSL', '_feature_blocks.', 'heads'),
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
    names = unwrapped(keys)
    for layout in LAYOUTS:
        stock = {key: layout.stock_name(name) for key, name in names.items()}
        backbone = {key: name for key, name in stock.items() if name is not None}
        if not set(_EVIDENCE) <= set(backbone.values()):
            continue
        others = [key for key in names if key not in backbone]
        dropped = [key for key in others if layout.is_beside(names[key])]
        unplaced = [key for key in others if not layout.is_beside(names[key])]
        first = next(key for key, name in backbone.items() if name == _EVIDENCE[0])
        prefix = first.removesuffix(names[first].removeprefix(layout.prefix))
        return LayoutMatch(layout, prefix, backbone, dropped, unplaced)
    return None


def unwrapped(keys: Iterable[str]) -> dict[str, str]:
    """For each of all keys of a file its name without what data parallelism and ``torch.compile`` put into it."""
    names = {key: re.sub(rf'(^|\.){re.escape(COMPILED)}', r'\1', key) for key in keys}
    if names and all(name.startswith(DATA_PARALLEL) for name in names.values()):
        names = {key: name[len(DATA_PARALLEL):] for key, name in names.items()}
    return names
