"""Reading checkpoints safely, and the ResNets in them, whoever published them."""

from __future__ import annotations

import argparse
import ast
import hashlib
import importlib
import json
import re
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypedDict

import torch
from mmpretrain.models.backbones.resnet import Bottleneck, ResNet
from torch import Tensor, nn

from ..errors import InputError, NotFiniteError, naming
from ..images.normalization import IMAGENET, ZERO_TO_ONE, Normalization
from ..only_weights import only_weights
from ..zip_files import check_size
from .backbone import build_plain, check_rgb
from .eval_settings import EvalSettings
from .publishers import HOLDERS, LayoutMatch, match_layout
from .safe_globals import allow_checkpoints
from .shipped import find_checkpoint

State = dict[str, Tensor]
RECORD = 'sdr_mm'
"""Where the metadata of a ``.safetensors`` file, or of another format, has the ``meta`` of an export as JSON."""
FilePath = str | Path
_DEPTHS = {(block is Bottleneck, blocks): depth for depth, (block, blocks) in ResNet.arch_settings.items()}


class ResNetInfo(TypedDict):
    """What :func:`load_resnet` found beside the weights."""

    config: dict[str, Any]  # Arguments of the stock ResNet.
    layout: str  # Whose names the weights had; see :mod:`sdr_mm.models.publishers`.
    prefix: str  # Where the backbone was in the checkpoint, for example ``'backbone.'``.
    dropped: list[str]  # Keys that are no part of the backbone (heads, queues, …).
    settings: EvalSettings  # As the checkpoint knows them.


def read_checkpoint(file: FilePath, map_location: Any = 'cpu') -> dict[str, Any]:
    """Reads a checkpoint without running any code that it may hold.

    Args:
        file (str | Path): What ``torch.save`` wrote, a ``.safetensors`` file, or the name of a checkpoint that ships
            (:func:`~sdr_mm.models.shipped.find_checkpoint`).
        map_location (Any): As for ``torch.load``. Defaults to 'cpu'.

    Returns:
        dict: All of it.

    Raises:
        InputError: If it is missing, damaged or no checkpoint.
    """
    place = find_checkpoint(file)
    safetensors = import_extra('safetensors', file) if place.suffix == '.safetensors' else None
    allow_checkpoints()
    try:
        if safetensors:
            return _read_safetensors(place, safetensors)
        check_sums(place)
        # Many publishers store their command line beside the weights. It is a bare record.
        with only_weights(), torch.serialization.safe_globals([argparse.Namespace]):
            checkpoint = torch.load(place, map_location=map_location, weights_only=True)
    except InputError:
        raise
    except PermissionError as error:
        raise InputError(f'{file} cannot be read ({error.strerror}): make it readable') from error
    except Exception as error:  # Arbitrary bytes may raise anything.
        refused = None if safetensors else re.search(r'GLOBAL (\S+)|module (\S+) is blocked', str(error))
        if refused:
            raise InputError(f'{file} holds a Python object that is no weight ({refused[1] or refused[2]}), and '
                             f'reading it could run foreign code: save the state dict alone') from error
        wanted = 'a whole .safetensors file' if safetensors else 'a file that torch.save wrote'
        raise InputError(f'{file} cannot be read as a checkpoint, it may be cut short ({type(error).__name__}): '
                         f'give {wanted}') from error
    if not isinstance(checkpoint, dict):
        raise InputError(f'{file} holds a {type(checkpoint).__name__}, not a dictionary of weights: '
                         f'give a file that holds a state dict')
    return checkpoint


def _read_safetensors(file: Path, safetensors: Any) -> dict[str, Any]:
    """Weights, and as ``meta`` what an export notes beside them, as text in JSON."""
    with safetensors.safe_open(file, framework='pt') as stored:
        state = {key: stored.get_tensor(key) for key in stored.keys()}  # noqa: SIM118
        meta = (stored.metadata() or {}).get(RECORD)
    return state if meta is None else dict(state_dict=state, meta=json.loads(meta))


def check_sums(file: FilePath) -> None:
    """Refuses a checkpoint with damaged bytes, which ``torch.load`` would take for weights.

    Since PyTorch 1.6 ``torch.save`` writes a zip archive, which has a checksum for every tensor. Older files and
    safetensors have none.

    Raises:
        InputError: If one does not fit, or it unpacks to far more than its size.
    """
    with open(file, 'rb') as start:
        if start.read(4) != b'PK\3\4':
            return
    with zipfile.ZipFile(file) as archive:
        try:
            check_size(sum(member.file_size for member in archive.infolist()), Path(file).stat().st_size)
        except zipfile.BadZipFile as error:
            raise InputError(f'{file} is no honest checkpoint, {error}: give another one') from error
        damaged = archive.testzip()
    if damaged is not None:
        raise InputError(f'{file} is damaged, {damaged} in it does not have its checksum: copy or download it again')


def import_extra(module: str, needed_by: FilePath, extra: str = 'zoo') -> Any:
    """Imports a module of the packages that ``sdr-mm[zoo]``, or another extra, installs.

    Raises:
        InputError: If it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise InputError(f'{needed_by} needs the package {module.partition(".")[0]}, which is not installed: '
                         f'pip install "sdr-mm[{extra}]"') from error


def state_of(checkpoint: dict[str, Any], file: FilePath) -> State:
    """The weights in what :func:`read_checkpoint` read from ``file``.

    They are where one of :data:`sdr_mm.models.publishers.HOLDERS` says, or they are all of it.

    Raises:
        InputError: If there are none.
    """
    for path in HOLDERS:
        part: Any = checkpoint
        for name in path:
            part = part.get(name) if isinstance(part, dict) else None
        if isinstance(part, dict):
            checkpoint = part
            break
    state = {str(key): value for key, value in checkpoint.items() if isinstance(value, Tensor)}
    if not state:
        raise InputError(f'{file} holds no weights (keys: {some(checkpoint)}): give a file that holds a state dict')
    for key, value in state.items():
        if odd := _oddity(value):
            raise InputError(f'{file}: {key} is {odd}, which no layer takes: save its plain dense values')
    return state


def _oddity(value: Tensor) -> str | None:
    """What is special about a tensor that is no array of real numbers in memory."""
    if value.is_meta:
        return 'a tensor without values (meta)'
    if value.is_quantized:
        return 'quantized'
    if value.layout is not torch.strided or value.is_nested:
        return 'sparse or nested'
    if value.is_complex():
        return 'of complex numbers'
    # A few bytes in the file could ask for all memory.
    return 'larger than its data' if value.numel() * value.element_size() > value.untyped_storage().nbytes() else None


def read_state_dict(file: FilePath) -> State:
    """The weights in a checkpoint file; see :func:`read_checkpoint` and :func:`state_of`."""
    return state_of(read_checkpoint(file), file)


def split_backbone(state: State, where: FilePath = 'the checkpoint') -> tuple[State, LayoutMatch]:
    """Finds the ResNet among the weights of a checkpoint.

    Args:
        state (dict[str, Tensor]): All weights.
        where (str | Path): Where they come from, for the message.

    Returns:
        tuple: The weights of the ResNet under the names a stock ResNet gives them, and where each key belongs.

    Raises:
        InputError: If there is no ResNet, or a key that is neither the ResNet's nor that of a head, queue or momentum
            encoder of the publisher.
    """
    match = match_layout(state)
    if match is None:
        raise InputError(f'{where} holds no ResNet in a known layout (keys: {some(state)}): give a ResNet checkpoint '
                         f'of MMPretrain, MMSelfSup, torchvision, timm or a publisher of self-supervised models, or '
                         f'name the architecture as in timm:NAME@FILE')
    if match.unplaced:
        raise InputError(f'{where}: {len(match.unplaced)} keys belong to no ResNet and to no known head '
                         f'({match.layout.name} layout): {some(match.unplaced)}: {match.layout.hint}')
    return {name: state[key] for key, name in match.backbone.items()}, match


def backbone_state(state: State, where: FilePath = 'the checkpoint') -> State:
    """The weights of the ResNet in ``state``; see :func:`split_backbone`."""
    return split_backbone(state, where)[0]


def infer_resnet(state: State, where: FilePath = 'the checkpoint') -> dict[str, Any]:
    """Arguments of the stock ResNet that has weights of these shapes.

    Args:
        state (dict[str, Tensor]): Result of :func:`backbone_state`.
        where (str | Path): As for :func:`split_backbone`.

    Returns:
        dict: ``type``, ``depth``, ``in_channels``, ``stem_channels`` and ``base_channels``.

    Raises:
        InputError: If there is no such ResNet.
    """
    blocks = [len({key.split('.')[1] for key in state if key.startswith(f'layer{stage}.')}) for stage in range(1, 5)]
    bottleneck = 'layer1.0.conv3.weight' in state
    depth = _DEPTHS.get((bottleneck, tuple(blocks)))
    if depth is None:
        kind = 'bottleneck' if bottleneck else 'basic'
        raise InputError(f'{where}: no ResNet has {blocks} {kind} blocks: depths 18, 34, 50, 101 and 152 are known')
    stem, base = state['conv1.weight'], state['layer1.0.conv1.weight'].shape[0]
    if bottleneck and 'layer1.0.conv2.weight' in state:
        width, group = state['layer1.0.conv2.weight'].shape[:2]
        if group != width or state['layer1.0.conv3.weight'].shape[0] != 4 * base:
            raise InputError(f'{where} holds a ResNeXt or a wide ResNet, which a plain ResNet cannot be: name the '
                             f'architecture, as in torchvision:resnext50_32x4d@FILE')
    return dict(type='mmpretrain.ResNet', depth=depth, in_channels=stem.shape[1], stem_channels=stem.shape[0],
                base_channels=base)


def with_counters(network: nn.Module, state: State) -> State:
    """``state`` with the batch counters that files of old PyTorch and of converters lack."""
    return {key: torch.tensor(0) for key in network.state_dict() if key.endswith('num_batches_tracked')} | state


def load_exactly(network: nn.Module, state: State, where: FilePath) -> None:
    """``load_state_dict`` that leaves nothing out and takes no values that a network cannot have.

    Raises:
        InputError: If a key is missing, unexpected, of another shape or another kind of numbers, naming the first
            ones, or a variance is negative.
        NotFiniteError: If a parameter or a statistic is NaN or infinite.
    """
    check_fit(network, state, where)
    check_values(network, state, where)
    own = network.state_dict()
    own.update(state)  # It carries the versions of the layers, which some of them ask for.
    network.load_state_dict(own)


def check_fit(network: nn.Module, state: State, where: FilePath) -> None:
    """Refuses weights that are not those of ``network``, which may be on the device ``meta``.

    Raises:
        InputError: As :func:`load_exactly`.
    """
    own = network.state_dict()
    reshaped = [f'{key} {tuple(state[key].shape)} instead of {tuple(value.shape)}'
                for key, value in own.items() if key in state and state[key].shape != value.shape]
    for what, keys in (('lacks', [key for key in own if key not in state]),
                       ('has unexpected', [key for key in state if key not in own]),
                       ('has another shape for', reshaped)):
        if keys:
            raise InputError(f'{where} {what} {len(keys)} weights of this {type(network).__name__}: {some(keys)}: '
                             f'give a checkpoint of the same layout')
    for key, value in own.items():
        fits = state[key].is_floating_point() == value.is_floating_point() or key.endswith('num_batches_tracked')
        if not fits or (state[key].dtype == torch.bool) != (value.dtype == torch.bool):
            raise InputError(f'{where}: {key} is {_dtype(state[key])} instead of {_dtype(value)}: give the weights as '
                             f'they were trained')


def check_values(network: nn.Module, state: State, where: FilePath) -> None:
    """Refuses values of parameters and statistics that no network can have.

    Other buffers, such as masks, may be infinite.

    Raises:
        InputError: If a variance is negative.
        NotFiniteError: If a value is NaN or infinite.
    """
    own = network.state_dict()
    trained = {name for name, _ in network.named_parameters()}
    for key, value in state.items():
        variance = key.endswith('running_var')
        if not value.is_floating_point() or not (variance or key in trained or key.endswith('running_mean')):
            continue
        value = value.to(own[key].dtype)
        if not value.isfinite().all():
            raise NotFiniteError(f'{where}: {key} is not finite (NaN or infinite), the file is damaged or its training '
                                 f'has diverged: give another file or an earlier checkpoint')
        if variance and bool((value < 0).any()):
            raise InputError(f'{where}: {key} holds negative variances, the file is damaged: copy or download it again')


def _dtype(value: Tensor) -> str:
    return str(value.dtype).removeprefix('torch.')


def load_resnet(file: FilePath, where: str = '') -> tuple[ResNet, ResNetInfo]:
    """Loads the ResNet in a checkpoint of any publisher of :data:`sdr_mm.models.publishers.LAYOUTS`.

    Args:
        file (str | Path): The checkpoint. Its architecture is inferred from the shapes.
        where (str): What the file is for, put before its name in messages, such as ``'--baseline'``. Defaults to ''.

    Returns:
        tuple: The stock MMPretrain ResNet for RGB images in evaluation mode, on the CPU, and a :class:`ResNetInfo`.

    Raises:
        InputError: If the file cannot be read, holds a key that cannot be placed, or is for other images than RGB.
    """
    label = f'{where} {file}'.strip()
    checkpoint = read_checkpoint(file)
    state, match = split_backbone(state_of(checkpoint, file), label)
    config = infer_resnet(state, label)
    default = ZERO_TO_ONE if match.layout.zero_to_one else IMAGENET
    settings = settings_of(checkpoint, default, label)
    check_rgb(config['in_channels'], label, values=len(settings.normalization.mean))
    network: Any = build_plain(config)
    load_exactly(network, with_counters(network, state), label)
    return network, ResNetInfo(config=config, layout=match.layout.name, prefix=match.prefix, dropped=match.dropped,
                               settings=settings)


def settings_of(checkpoint: dict[str, Any], default: Normalization = IMAGENET,
                where: FilePath = 'the checkpoint') -> EvalSettings:
    """What a checkpoint knows about its evaluation: that of an export, or what its stored config says.

    Raises:
        InputError: If that cannot be used; the message begins with ``where``.
    """
    meta = checkpoint.get('meta')
    exported = meta.get('settings') if isinstance(meta, dict) else None
    with naming(str(where)):
        return EvalSettings.of(exported if isinstance(exported, dict) else stored_config(checkpoint), default)


def weights_fingerprint(network: nn.Module) -> str:
    """SHA-256 of all weights and statistics of ``network``: their names, shapes, types and values."""
    digest = hashlib.sha256()
    for key, value in network.state_dict().items():
        digest.update(f'{key} {tuple(value.shape)} {value.dtype}'.encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return f'sha256:{digest.hexdigest()}'


def stored_config(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """The config that MMEngine, or MMSelfSup 0.x, stored with a checkpoint, see :func:`parse_config`; {} if none."""
    meta = checkpoint.get('meta')
    text = meta.get('cfg', meta.get('config')) if isinstance(meta, dict) else None
    return parse_config(text) if isinstance(text, str) else {}


def parse_config(text: str) -> dict[str, Any]:
    """A config as MMEngine writes it down; empty if it cannot be read.

    Note:
        The text is Python and :class:`mmengine.Config` would execute it. Here it is only parsed: assignments of
        literals and of ``dict(…)``, which is what MMEngine writes.
    """
    try:
        return {line.targets[0].id: _literal(line.value) for line in ast.parse(text).body
                if isinstance(line, ast.Assign) and isinstance(line.targets[0], ast.Name)}
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError):
        return {}


def _literal(node: ast.expr) -> Any:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == 'dict':
        base = dict(_literal(node.args[0])) if node.args else {}
        return base | {keyword.arg: _literal(keyword.value) for keyword in node.keywords}
    if isinstance(node, ast.Dict):
        return {_literal(key): _literal(value) for key, value in zip(node.keys, node.values) if key is not None}
    if isinstance(node, (ast.List, ast.Tuple)):
        values = [_literal(item) for item in node.elts]
        return values if isinstance(node, ast.List) else tuple(values)
    if isinstance(node, ast.Name) and node.id in ('inf', 'nan'):
        return float(node.id)
    return ast.literal_eval(node)


def some(keys: Iterable[Any], count: int = 4) -> str:
    """The first of ``keys``, for messages."""
    keys = [str(key) for key in keys]
    return ', '.join(keys[:count]) + (', …' if len(keys) > count else '')
