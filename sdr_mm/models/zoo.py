"""Networks from model zoos, as candidates beside the sub-nets."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
import torchvision
from mmpretrain import get_model, list_models
from mmpretrain.apis import ModelHub
from mmpretrain.models import BaseSelfSupervisor, ImageClassifier
from mmpretrain.models.backbones import VGG, AlexNet, InceptionV3
from torch import Tensor, nn

from ..errors import InputError, naming
from ..images import IMAGENET, ZERO_TO_ONE, Normalization
from ..mmselfsup import config_name
from ..only_weights import only_weights
from .baselines import find_baseline
from .checkpoint_loaders import cached_file, locate
from .checkpoints import State, import_extra, load_exactly, load_resnet, read_state_dict, some, with_counters
from .eval_settings import EvalSettings
from .publishers import OPENMMLAB, unwrapped
from .safe_globals import allow_checkpoints

T = TypeVar('T')


@dataclass(frozen=True, eq=False)
class Network:
    """A pre-trained network without its classifier.

    Args:
        name (str): For tables.
        module (nn.Module): Takes normalized images ``(N, 3, H, W)`` and returns what
            :func:`sdr_mm.models.backbone.pool_features` accepts. In evaluation mode, on the CPU. Images of a size that
            it cannot take end in an :class:`InputError`.
        settings (EvalSettings): Normalization and size of its input, and neighbors of kNN, that fit it.
    """

    name: str
    module: nn.Module
    settings: EvalSettings = EvalSettings()

    @property
    def num_parameters(self) -> int:
        """Parameters, the classifier's not counted."""
        return sum(parameter.numel() for parameter in self.module.parameters())


def load_network(spec: str, where: str = '') -> Network:
    """Loads a network for evaluation.

    Args:
        spec (str): A weight file of a ResNet in any known layout (:func:`load_resnet`), ``pool-r18-baseline``, which
            ships, or the name of an architecture, ``torchvision:NAME``, ``timm:NAME`` or ``mmpretrain:NAME``, with the
            library's own pre-trained weights, or with those of a file as ``…:NAME@FILE``. ``mmselfsup:NAME`` is
            MMPretrain's model of that recipe. ``baseline:NAME@FILE`` is a file of
            :data:`sdr_mm.models.baselines.BASELINES`, which knows the normalization that it was trained with.
        where (str): What it is for, put before its name in messages, such as ``'--candidates'``. Defaults to ''.

    Returns:
        Network: Never with random weights.

    Raises:
        InputError: If there is no such file or architecture, the weights cannot be had, or they do not fit key by key.
    """
    kind, _, rest = spec.partition(':')
    if kind not in _KINDS:
        network, info = load_resnet(spec, where)
        return Network(Path(spec).name, network, info['settings'])
    name, _, file = rest.partition('@')
    label = f'{where} {spec}'.strip()
    if not name or '@' in rest and not file:
        raise InputError(f'{label} must be {kind}:NAME or {kind}:NAME@FILE')
    module, normalization = _KINDS[kind](name, file or None, label)
    if kind == 'baseline':
        title = find_baseline(name).name
    else:
        title = f'{kind}:{name}' + (f'@{Path(file).name}' if file else '')
        module = _Guarded(module, title).eval()
    return Network(title, module, EvalSettings(normalization))


def weight_file(spec: str) -> str | None:
    """The file that a spec of :func:`load_network` names; None if the weights are those of a library."""
    kind, _, rest = spec.partition(':')
    return (rest.partition('@')[2] or None) if kind in _KINDS else spec


class _Guarded(nn.Module):
    """A network that says in one line which images it cannot take, as a ViT of a fixed size."""

    def __init__(self, module: nn.Module, title: str) -> None:
        super().__init__()
        self.module, self.title = module, title

    def forward(self, images: Tensor) -> Any:
        try:
            return self.module(images)
        except (torch.OutOfMemoryError, InputError):
            raise
        except (AssertionError, RuntimeError, ValueError) as error:
            if 'CUDA' in str(error):  # The device failed, the size is fine.
                raise
            height, width = images.shape[-2:]
            raise InputError(f'{self.title} cannot take images of {width}×{height} pixels ({_first_line(error)}): '
                             f'choose another --size, or another network') from error


def _torchvision(name: str, file: str | None, label: str) -> tuple[nn.Module, Normalization]:
    known = torchvision.models.list_models(module=torchvision.models)
    if name not in known:
        raise InputError(_unknown(label, 'torchvision has no classification network', name, known))
    weights: Any = getattr(torchvision.models.get_model_weights(name), 'DEFAULT', None)
    if file is None:
        network = _download(lambda: torchvision.models.get_model(name, weights=weights), weights, 'torchvision', label,
                            getattr(weights, 'url', None))
        _behead(network)
    else:
        # With their own weights these two change the normalization inside.
        inside = dict(transform_input=True, init_weights=False) if name in ('googlenet', 'inception_v3') else {}
        network = torchvision.models.get_model(name, weights=None, **inside)
        state = {_todays_name(key): value for key, value in _read(file, label).items()}
        _load(network, state, _behead(network), label)
    preset = weights.transforms() if weights is not None else None
    return network, _scaled(getattr(preset, 'mean', None), getattr(preset, 'std', None))


def _todays_name(key: str) -> str:
    """The name of today for one of torchvision's own files of DenseNets and ViTs, which are older than its code."""
    key = re.sub(r'(denselayer\d+\.(?:norm|conv))\.([12]\.)', r'\1\2', key)
    return key.replace('.mlp.linear_1.', '.mlp.0.').replace('.mlp.linear_2.', '.mlp.3.')


def _behead(network: nn.Module) -> list[str]:
    """Makes a network of torchvision return the input of its last linear layer.

    Returns:
        list[str]: Names of the layers removed: that one and those that only help in training.
    """
    auxiliary = [name for name in ('aux1', 'aux2', 'AuxLogits') if hasattr(network, name)]
    for name in auxiliary:
        setattr(network, name, None)
    linear = [key for key, layer in network.named_modules() if isinstance(layer, nn.Linear)]
    if linear:
        network.set_submodule(linear[-1], nn.Identity())
        return [linear[-1], *auxiliary]
    network.set_submodule('classifier', nn.AdaptiveAvgPool2d(1))  # SqueezeNet classifies by a convolution.
    return ['classifier']


def _timm(name: str, file: str | None, label: str) -> tuple[nn.Module, Normalization]:
    timm = import_extra('timm', label)
    try:
        network = timm.create_model(name, num_classes=0, pretrained=False)
    except RuntimeError as error:
        base = name.partition('.')[0]
        if base not in timm.list_models():
            raise InputError(_unknown(label, 'timm has no network', name, timm.list_models())) from error
        raise InputError(f'{label}: {_first_line(error)}: timm has {base} as '
                         f'{some(timm.list_pretrained(base + ".*")) or "no weights"}') from error
    config = network.pretrained_cfg
    if file is None:
        weights = any(config.get(key) for key in ('url', 'hf_hub_id', 'file'))
        network = _download(lambda: timm.create_model(name, num_classes=0, pretrained=True), weights, 'timm', label)
    else:
        heads = config.get('classifier') or ()
        heads = [heads] if isinstance(heads, str) else heads
        _load(network, _read(file, label), {head.partition('.')[0] for head in heads}, label)
    return network, _scaled(config.get('mean'), config.get('std'))


def _mmpretrain(name: str, file: str | None, label: str) -> tuple[nn.Module, Normalization]:
    if name not in list_models():
        with naming(label):
            name = config_name(name) or name
    try:
        weights = ModelHub.get(name).weights
    except ValueError as error:
        raise InputError(_unknown(label, 'MMPretrain has no network', name, list_models())) from error
    try:
        with only_weights():
            model = get_model(name, pretrained=False)
    except Exception as error:  # Some need more packages, some download parts of themselves.
        raise InputError(f'{label}: MMPretrain cannot build {name} here ({_first_line(error)}): '
                         f'name another network') from error
    if not isinstance(model, (ImageClassifier, BaseSelfSupervisor)):
        raise InputError(f'{label}: {name} is a {type(model).__name__}, which has no features of an image: name a '
                         f'classifier or a self-supervised network')
    flip = _takes_bgr(model)
    values: list[Any] = [getattr(model.data_preprocessor, key, None) for key in ('mean', 'std')]
    if any(value is None for value in values):
        normalization = Normalization((0.0, ) * 3, (1.0, ) * 3)
    else:
        normalization = Normalization(*(tuple(value.flatten().tolist()[::-1 if flip else 1]) for value in values))
    # The neck of a classifier pools, that of a self-supervised network is its projector.
    kept = ('backbone', 'neck') if isinstance(model, ImageClassifier) else ('backbone', )
    for others in (model.named_children(), model.named_buffers(recurse=False)):
        for other in [other for other, _ in others if other not in kept]:
            delattr(model, other)
    # A few backbones may end in the classifier.
    heads = []
    if isinstance(model.backbone, (AlexNet, InceptionV3, VGG)) and getattr(model.backbone, 'num_classes', 1) > 0:
        heads = [f'backbone.{head}' for head in _behead(model.backbone)]
    if file is None:
        file = str(_download(lambda: locate(weights), weights, 'MMPretrain', label))
    state = _read(file, label)
    state = {key: value for key, value in state.items()
             if key.partition('.')[0] in kept or not OPENMMLAB.is_beside(key)}
    _load(model, state, heads, label)
    return _MMPretrainFeatures(model, flip), normalization


def _takes_bgr(model: Any) -> bool:
    """Whether a model of MMPretrain was trained on images with blue first.

    Images from files are BGR unless its preprocessor converts them; those of CIFAR, which come as arrays, are RGB.
    """
    preprocessor = model.data_preprocessor
    if getattr(preprocessor, 'to_rgb', False) or getattr(preprocessor, '_channel_conversion', False):
        return False
    loader = model._config.get('test_dataloader') or model._config.get('train_dataloader') or {}
    steps = loader.get('dataset', {}).get('pipeline', [])
    return any(str(step.get('type')).endswith('LoadImageFromFile') for step in steps)


class _MMPretrainFeatures(nn.Module):
    """The features that a model of MMPretrain extracts from RGB images."""

    def __init__(self, model: Any, flip: bool) -> None:
        super().__init__()
        self.model, self.flip = model, flip

    def forward(self, images: Tensor) -> Any:
        found = self.model.extract_feat(images.flip(1) if self.flip else images)
        last = found[-1] if isinstance(found, (tuple, list)) else found
        if isinstance(last, Tensor) and last.dim() == 3:  # (N, tokens, C), as masked autoencoders give them.
            return last[:, 0] if getattr(self.model.backbone, 'cls_token', None) is not None else last.mean(1)
        return found


def _baseline(name: str, file: str | None, label: str) -> tuple[nn.Module, Normalization]:
    row = find_baseline(name)
    if file is None:
        prepare = f', {row.prepare}' if row.prepare else ''
        raise InputError(f'{label}: get {row.file} from {row.page}{prepare}, and give it as baseline:{row.name}@FILE')
    network, info = load_resnet(file, f'{row.name}:')
    return network, ZERO_TO_ONE if row.zero_to_one else info['settings'].normalization


_KINDS: dict[str, Callable[[str, str | None, str], tuple[nn.Module, Normalization]]] = dict(
    torchvision=_torchvision, timm=_timm, mmpretrain=_mmpretrain, mmselfsup=_mmpretrain, baseline=_baseline)


def _read(file: str, label: str) -> State:
    """The weights in ``file``, without what data parallelism and ``torch.compile`` put into their names."""
    with naming(label):
        state = read_state_dict(file)
    return {name: state[key] for key, name in unwrapped(state).items()}


def _load(network: nn.Module, state: State, heads: Iterable[str], label: str) -> None:
    """Loads all weights but those of the classifier, which the network lacks and which may be for other classes."""
    own, begins = network.state_dict(), tuple(f'{head}.' for head in heads)
    state = {key: value for key, value in state.items() if key in own or not key.startswith(begins)}
    load_exactly(network, with_counters(network, state), label)


def _download(load: Callable[[], T], weights: Any, library: str, label: str, url: str | None = None) -> T:
    """What ``load`` returns; it is not called if there are no ``weights`` to download, or torch.hub keeps bad ones."""
    spec = label.split()[-1]
    if not weights:
        raise InputError(f'{label}: {library} has no weights for {spec.partition(":")[2]}: give them as {spec}@FILE')
    if url and cached_file(url).is_file():  # With no checksum that the library would look at.
        _read(str(cached_file(url)), label)
    allow_checkpoints()
    try:
        with only_weights():
            return load()
    except Exception as error:  # Each library, and each of its transports, has its own errors.
        cause = error.__cause__ if isinstance(error, InputError) and error.__cause__ is not None else error
        raise InputError(f'{label}: the pre-trained weights cannot be downloaded or read ({type(cause).__name__}: '
                         f'{_first_line(cause)}): give them as {spec}@FILE') from error


def _scaled(mean: Sequence[float] | None, std: Sequence[float] | None) -> Normalization:
    """From 0 to 1 to 0 to 255; ImageNet's if there is none."""
    if mean is None or std is None:
        return IMAGENET
    return Normalization(*(tuple(255 * x for x in values) for values in (mean, std)))


def _unknown(label: str, problem: str, name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(known), n=3, cutoff=0.5)
    advice = f'did you mean {" or ".join(near)}?' if near else 'see its list of models'
    return f'{label}: {problem} {name!r}: {advice}'


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0].rstrip('.')[:160] if lines else type(error).__name__
