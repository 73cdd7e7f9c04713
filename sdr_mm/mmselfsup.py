"""What MMSelfSup called things, for those who come from it.

MMSelfSup 1.x cannot be installed beside today's OpenMMLab. MMPretrain is its successor and has its algorithms, some
under other names or with other arguments. Here its names are read as MMPretrain's:

- ``mmselfsup.X`` and ``mmcls.X`` (MMClassification, on which it built) resolve in any registry of OpenMMLab, in
  scopes of these names that exist once ``sdr_mm`` is imported;
- :func:`translate` turns a config of MMSelfSup 1.x into one of MMPretrain;
- :func:`config_name` and :func:`find_config` know its configs by name.

The names and arguments of MMSelfSup are those of its versions 0.11 and 1.0.0 (open-mmlab/mmselfsup, branches 0.x and
main). Imports neither torch nor MMPretrain before a name is looked up.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from importlib import import_module
from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from mmengine import registry as root
from mmengine.config import Config

from . import registry
from .errors import InputError

Translator = Callable[..., dict[str, Any]]
"""From the arguments of a class of MMSelfSup to the config of what MMPretrain has in its place."""


def _renamed(kind: str, dropped: tuple[str, ...] = (), more: Mapping[str, Any] | None = None,
             **names: str) -> Translator:
    """Another type, other names of arguments (``old='new'``), without those dropped, and with ``more`` unless given."""
    def translate(**arguments: Any) -> dict[str, Any]:
        new = {names.get(name, name): value for name, value in arguments.items() if name not in dropped}
        return {'type': kind, **(more or {}), **new}
    return translate


def _complement(kind: str, **defaults: float) -> Translator:
    """Averages of weights: MMSelfSup says which part of the old average stays, MMPretrain which part is replaced."""
    def translate(**arguments: Any) -> dict[str, Any]:
        parts = {name: round(1 - arguments.pop(name, default), 12) for name, default in defaults.items()}
        return dict(type=kind, **arguments, **parts)
    return translate


def _resnet(kind: str) -> Translator:
    """MMSelfSup counts the stem as output 0, and MMPretrain the first stage."""
    def translate(out_indices: Any = (4, ), zero_init_residual: bool = False, **arguments: Any) -> dict[str, Any]:
        if 0 in out_indices:
            raise InputError(f'out_indices={out_indices!r} asks for the output of the stem, which the {kind} of '
                             'MMPretrain does not give: name stages only, 1 to 4')
        return dict(type=kind, out_indices=[index - 1 for index in out_indices],
                    zero_init_residual=zero_init_residual, **arguments)
    return translate


def _pack(key: str = 'img', algorithm_keys: Any = (), pseudo_label_keys: Any = (),
          meta_keys: Any = ()) -> dict[str, Any]:
    if pseudo_label_keys:
        raise InputError(f'pseudo_label_keys={pseudo_label_keys!r} are for algorithms that MMPretrain does not have: '
                         'leave them out')
    return dict(type='PackInputs', input_key=key, algorithm_keys=algorithm_keys, meta_keys=meta_keys)


def _gaussian_blur(sigma_min: float, sigma_max: float, prob: float = 0.5) -> dict[str, Any]:
    return dict(type='GaussianBlur', magnitude_range=(sigma_min, sigma_max), magnitude_std='inf', prob=prob)


def _linear_neck(with_avg_pool: bool = True, **arguments: Any) -> dict[str, Any]:
    return dict(type='LinearNeck', gap_dim=2 if with_avg_pool else 0, norm_cfg=None, **arguments)


def _cae_vit(qkv_bias: bool = True, **arguments: Any) -> dict[str, Any]:
    # Without the whole bias MMSelfSup learns that of the queries and values.
    return _renamed('CAEPretrainViT', _TOKENS, init_values='layer_scale_init_value')(
        bias=True if qkv_bias else 'qv_bias', **arguments)


def _vqkd(**arguments: Any) -> dict[str, Any]:
    for part in ('encoder_config', 'decoder_config'):
        if isinstance(arguments.get(part), Mapping):
            kept = {name: value for name, value in arguments[part].items() if name not in _TOKENS}
            arguments[part] = dict(out_type='featmap') | kept
    return dict(type='VQKD', **arguments)


_TOKENS = ('avg_token', 'output_cls_token')
"""What ViTs of MMSelfSup return; MMPretrain has ViTs of their own for pre-training, which return all tokens."""

_CHANGED: dict[str, dict[str, Translator]] = {
    'mmselfsup': {
        'PackSelfSupInputs': _pack,
        'RandomGaussianBlur': _gaussian_blur,
        'RandomSolarize': _renamed('Solarize', more=dict(thr=128), threshold='thr'),
        'RandomResizedCrop': _renamed('RandomResizedCrop', size='scale', scale='crop_ratio_range',
                                      ratio='aspect_ratio_range'),
        'RandomCrop': _renamed('RandomCrop', size='crop_size'),
        'ColorJitter': _renamed('sdr_mm.ColorJitter'),  # MMPretrain's own needs NumPy 1.
        'ImageList': _renamed('CustomDataset', more=dict(with_label=False)),
        'SelfSupVisualizer': _renamed('UniversalVisualizer', ('line_width', 'alpha')),
        'ResNet': _resnet('ResNet'),
        'ResNetV1d': _resnet('ResNetV1d'),
        'ResNeXt': _resnet('ResNeXt'),
        'BYOL': _complement('BYOL', base_momentum=0.996),
        'MoCo': _complement('MoCo', momentum=0.999),
        'DenseCL': _complement('DenseCL', momentum=0.999),
        'MoCoV3': _complement('MoCoV3', base_momentum=0.99),
        'CosineEMA': _complement('CosineEMA', momentum=0.996, end_momentum=1.0),
        'NonLinearNeck': _renamed('NonLinearNeck', ('vit_backbone', )),  # MoCoV3ViT gives what the neck needs.
        'LinearNeck': _linear_neck,
        'BEiTViT': _renamed('BEiTPretrainViT', _TOKENS),
        'CAEViT': _cae_vit,
        'MAEViT': _renamed('MAEViT', _TOKENS),
        'MaskFeatViT': _renamed('MaskFeatViT', _TOKENS),
        'MILANViT': _renamed('MILANViT', _TOKENS),
        'MixMIMTransformerPretrain': _renamed('MixMIMPretrainTransformer'),
        'VQKD': _vqkd,
        'CAENeck': _renamed('CAENeck', ('patch_size', ), init_values='layer_scale_init_value'),
        'SimMIMNeck': _renamed('SimMIMLinearDecoder'),
        'MaskFeatPretrainHead': _renamed('MIMHead'),
        'MILANPretrainHead': _renamed('MIMHead'),
        'BEiTLoss': _renamed('CrossEntropyLoss'),
        'MAEReconstructionLoss': _renamed('PixelReconstructionLoss', more=dict(criterion='L2')),
        'SimMIMReconstructionLoss': _renamed('PixelReconstructionLoss', more=dict(criterion='L1'),
                                             encoder_in_channels='channel'),
        'TwoNormDataPreprocessor': _renamed('TwoNormDataPreprocessor', bgr_to_rgb='to_rgb'),
        'VideoDataPreprocessor': _renamed('VideoDataPreprocessor', bgr_to_rgb='to_rgb'),
        # It brought the target to 0.8 x / 255 + 0.1.
        'CAEDataPreprocessor': _renamed('TwoNormDataPreprocessor', bgr_to_rgb='to_rgb', more=dict(
            second_mean=[-31.875] * 3, second_std=[318.75] * 3)),
    },
    'mmcls': {
        'PackClsInputs': _renamed('PackInputs'),
        'ClsVisualizer': _renamed('UniversalVisualizer'),
    },
}
"""Names whose type or arguments have changed; all others are the same in MMPretrain."""

_ALGORITHM = ('its algorithm is not in MMPretrain: train one that is, such as SimSiam, BYOL, MoCo, SimCLR, SwAV, '
              'DenseCL or BarlowTwins; weights that were trained with it load as before')
_HEAD = 'it was for algorithms that are not in MMPretrain: take LinearClsHead'

_GONE = {
    **dict.fromkeys((
        'DeepCluster', 'DeepClusterImageNet', 'DeepClusterSampler', 'DeepClusterHook', 'ODC', 'ODCHook', 'ODCMemory',
        'ODCNeck', 'NPID', 'SimpleMemory', 'RelativeLoc', 'RelativeLocNeck', 'RelativeLocDataPreprocessor',
        'RandomPatchWithLabels', 'RotationPred', 'RotationPredDataPreprocessor', 'RotationWithLabels', 'PixMIM',
        'LowFreqTargetGenerator', 'ResNetSobel', 'InterCLRMoCo', 'InterCLRHook'), _ALGORITHM),
    'ClsHead': _HEAD,
    'MultiClsHead': _HEAD,
    'AvgPool2dNeck': 'nothing does quite the same: take GlobalAveragePooling, which flattens too',
    'RandomRotation': 'nothing does quite the same: take Rotate or torchvision/RandomRotation',
    'ResLayerExtraNorm': "it is for detectors: take sdr_mm.ExtraNormResLayer, with custom_imports = "
                         "dict(imports=['sdr_mm.detection'])",
}
"""Names of MMSelfSup without a successor, and what to do about it."""

SCOPES = tuple(_CHANGED)


def successor(scope: str, name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The config of what is in place of a class of MMSelfSup or MMClassification.

    Args:
        scope (str): ``'mmselfsup'`` or ``'mmcls'``.
        name (str): Of the class, without its scope.
        arguments (Mapping): Of the class.

    Returns:
        dict: Type and arguments. The type has a scope where it is not MMPretrain's.

    Raises:
        InputError: If there is no successor, or it cannot do what the arguments ask for.
    """
    check_not_gone(scope, name)
    if name not in _CHANGED[scope]:
        return {'type': name, **arguments}
    try:
        return _CHANGED[scope][name](**arguments)
    except InputError as error:
        raise InputError(f'{scope}.{name}: {error}') from error
    except (TypeError, AttributeError) as error:
        reason = re.sub(r'^\S+\(\) ', '', str(error))
        raise InputError(f'{scope}.{name} cannot be built ({reason}): correct its arguments') from error


def check_not_gone(scope: str, name: str) -> None:
    """Raises an InputError if a class of an old scope has no successor."""
    if scope == 'mmselfsup' and name in _GONE:
        raise InputError(f'{scope}.{name} has no successor, {_GONE[name]}')


class OldScope(root.Registry):
    """A child of one of MMEngine's roots under an old scope, whose names are MMPretrain's.

    Args:
        scope (str): One of :data:`SCOPES`.
        ours (FallbackRegistry): Registry of ``sdr_mm`` of the same kind.
    """

    def __init__(self, scope: str, ours: registry.FallbackRegistry) -> None:
        super().__init__(ours.name, parent=ours.parent, scope=scope)
        self.ours = ours

    def get(self, key: str) -> Any | None:
        """A class of MMPretrain, or a function that builds one from the arguments of old.

        Raises:
            InputError: If MMPretrain has none in its place.
        """
        name = key.removeprefix(f'{self.scope}.')
        check_not_gone(self.scope, name)
        if name in _CHANGED[self.scope]:
            def build(**arguments: Any) -> Any:
                found = successor(self.scope, name, arguments)
                return self.ours.build({**found, 'type': _with_scope(found['type'])})
            build.__name__ = name
            return build
        return getattr(import_module('mmpretrain.registry'), self.ours.fallback).get(name)


def _with_scope(kind: str) -> str:
    return kind if '.' in kind else f'mmpretrain.{kind}'


def add_scopes() -> None:
    """Adds the old scopes to MMEngine's registries, but those of packages that are installed."""
    kinds = [kind for kind in vars(registry).values()
             if isinstance(kind, registry.FallbackRegistry) and kind.parent is not None]
    for scope in SCOPES:
        if not _installed(scope):
            for kind in kinds:
                OldScope(scope, kind)


def _installed(package: str) -> bool:
    """Whether it can be used; a folder of its name, as in a clone of it, is not enough."""
    try:
        return bool(distribution(package))
    except PackageNotFoundError:
        return False


def translate(cfg: Config) -> Config:
    """A config without names of MMSelfSup and MMClassification.

    Types under one of the old scopes, by their name or by the config's ``default_scope``, become those of MMPretrain.
    The default scope becomes ``sdr_mm``, in which MMPretrain's names are found too. Another config stays as it is.

    Raises:
        InputError: If MMPretrain has nothing in place of a type.
    """
    content = cfg.to_dict()
    if not any(scope in repr(content) for scope in SCOPES):
        return cfg
    scope = content.get('default_scope')
    new = {name: _translated(value, scope) for name, value in content.items()}
    if scope in SCOPES:
        new['default_scope'] = registry.SCOPE
    return Config(new, cfg_text=cfg.text, filename=cfg.filename)


def _translated(node: Any, scope: Any) -> Any:
    """One part of a config; ``scope`` is that of types that name none."""
    if isinstance(node, (list, tuple)):
        return type(node)(_translated(value, scope) for value in node)
    if not isinstance(node, Mapping):
        return node
    scope = node.get('_scope_', scope)
    new = {name: _translated(value, scope) for name, value in node.items()}
    switch = {'_scope_': registry.SCOPE if scope in SCOPES else scope} if '_scope_' in node else {}
    kind = node.get('type')
    if isinstance(kind, str):
        named, dot, name = kind.rpartition('.') if kind.partition('.')[0] in SCOPES else ('', '', kind)
        if dot or scope in SCOPES and '.' not in kind:
            arguments = {name: value for name, value in new.items() if name not in ('type', '_scope_')}
            new = successor(named or scope, name, arguments)
            if dot:
                new['type'] = _with_scope(new['type'])
    return {**new, **switch}


# Names of configs.

_ALGORITHMS = ('barlowtwins', 'beit', 'beitv2', 'byol', 'cae', 'densecl', 'eva', 'mae', 'maskfeat', 'milan', 'mixmim',
               'mocov2', 'mocov3', 'simclr', 'simmim', 'simsiam', 'swav')
_GONE_CONFIGS = ('deepcluster', 'deepcluster-sobel', 'interclr-moco', 'npid', 'npid-ensure-neg', 'odc', 'pixmim',
                 'relative-loc', 'rotation-pred')
_RENAMED_CONFIGS = (  # Where the numbers of GPUs differ, all images of a step are as many.
    (r'-fp16', '-amp'),
    (r'^(beit|beitv2|cae)_vit-', r'\1_beit-'),
    (r'^(cae_.*)_(16xb128|32xb64)-', r'\1_8xb256-'),
    (r'^(byol_resnet50)_8xb(32-accum16|256-amp-accum2)-', r'\1_16xb256-'),
    (r'^(mae_.*8xb512)(-amp)?-coslr-(\d+e)(-amp)?_', r'\1-amp-coslr-\3_'),
    (r'^(maskfeat_.*8xb256)-coslr', r'\1-amp-coslr'),
    (r'^mixmim-base-p16_', 'mixmim_mixmim-base_'),
    (r'^(mocov3_.*)_32xb128-(.*)-224$', r'\1_16xb256-\2'),
    (r'^simmim_swin-base_', 'simmim_swin-base-w6_'),
    (r'^simmim_swin-large_', 'simmim_swin-large-w12_'),
    (r'^(simmim_.*b\d+)-coslr', r'\1-amp-coslr'),
    (r'^(simmim_.*)-192$', r'\1-192px'),
    (r'^(swav_.*)-mcrop-2-6-(.*)-224-96$', r'\1-mcrop-\2-224px-96px'),
)


def config_name(name: str) -> str | None:
    """What MMPretrain calls a recipe of MMSelfSup, 0.x or 1.x; it need not have it.

    Args:
        name (str): Of a config, or its path.

    Returns:
        str: Without ``.py``; None if it is no name of MMSelfSup's algorithms.

    Raises:
        InputError: If the algorithm is not in MMPretrain.
    """
    name = Path(name).name.removesuffix('.py')
    algorithm = name.partition('_')[0]
    if algorithm in _GONE_CONFIGS:
        raise InputError(f'{name} is a config of MMSelfSup, and {_ALGORITHM}')
    if algorithm == 'mocov1':
        raise InputError(f'{name} is a config of MMSelfSup that MMPretrain does not have: take '
                         'mocov2_resnet50_8xb32-coslr-200e_in1k, or give the path of your copy of it')
    for pattern, new in _RENAMED_CONFIGS:
        name = re.sub(pattern, new, name)
    algorithm, rest, _ = name.partition('_')
    return name if rest and algorithm in _ALGORITHMS else None


def find_config(file: str) -> str:
    """The file of a config, which MMSelfSup's name or path of a recipe may stand for.

    A file that is there is itself. Else a name such as ``simsiam_resnet50_8xb32-coslr-200e_in1k``, or MMSelfSup's path
    of it, is the file of MMPretrain's config of that recipe.

    Raises:
        InputError: If it is a recipe of MMSelfSup's that MMPretrain does not have.
    """
    name = None if os.path.exists(file) or '_base_' in file else config_name(file)
    if name is None:
        return file
    known = _mmpretrain_configs()
    # The patches of the largest MAE are 14 pixels wide, as only the file's name says.
    found = known.get(name) or known.get(name.replace('vit-huge-p16', 'vit-huge-p14'))
    if found is None:
        near = get_close_matches(name, known, 3, 0.6)
        raise InputError(f'there is no config {file}, and MMPretrain has no {name}: '
                         f'{"did you mean " + " or ".join(near) + "?" if near else "give one of configs/"}')
    return found


def _mmpretrain_configs() -> dict[str, str]:
    """Files of MMPretrain's configs of MMSelfSup's algorithms by their names, which are unique."""
    spec = find_spec('mmpretrain')
    folders = spec.submodule_search_locations if spec is not None else None
    return {file.stem: str(file) for folder in folders or () for algorithm in _ALGORITHMS
            for file in sorted(Path(folder, '.mim', 'configs', algorithm).glob('*.py'))}


def read_config(file: str) -> Config:
    """Runs a config file and returns what it sets, untranslated; see :func:`find_config` for ``file``.

    The default scope of a config of MMPretrain that was found by a name of MMSelfSup becomes ``sdr_mm``, as that of a
    config of MMSelfSup does.

    Raises:
        InputError: If it inherits from, or imports, a package that is gone.
        Exception: Whatever the file raises.
    """
    found = find_config(file)
    try:
        cfg = Config.fromfile(found)
    except ImportError as error:
        said = ' '.join(str(reason).partition('\n')[0] for reason in (error, error.__cause__))
        gone = next((scope for scope in SCOPES if re.search(rf'\b{scope}\b', said)), None)
        if gone is None or _installed(gone):
            raise
        raise InputError(f'{file} needs the package {gone}, which cannot be installed beside MMPretrain, its '
                         f'successor: {_advice(Path(found).read_text(errors="replace"), gone)}') from error
    if found != file:
        cfg.default_scope = registry.SCOPE
    return cfg


def _advice(text: str, gone: str) -> str:
    """What to write in place of the first ``_base_`` of a package that is gone."""
    base = re.search(rf'{gone}::([\w./-]+)', text)
    if base is None:
        return f'take what names {gone} out of its custom_imports or its _base_'
    path = base[1].removeprefix('selfsup/')
    try:
        file = find_config(path)
    except InputError as error:
        return str(error)
    if file != path:
        path = '/'.join(Path(file).parts[-2:])
    return f"write _base_ = 'mmpretrain::{path}' in place of '{base[0]}', and the rest in MMPretrain's names"


add_scopes()
