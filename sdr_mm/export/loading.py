"""The lines that load an export in each library."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..errors import InputError
from .exported import Exported
from .resnet_shape import ResNetShape, is_resnet, resnet_shape
from .timm_resnet import STEM, timm_arguments, timm_shape

READ = dict(
    mmpretrain=('import torch', "state = torch.load({!r})['state_dict']"),
    torchvision=('import torch', 'state = torch.load({!r})'),
    timm=('import torch', 'state = torch.load({!r})'),
    safetensors=('from safetensors.torch import load_file', 'state = load_file({!r})'))
"""How the weights in a file of each format are read."""

LOAD = 'network.load_state_dict(state)'

DEFAULTS = dict(in_channels=3, strides=(1, 2, 2, 2), dilations=(1, 1, 1, 1), out_indices=(3, ), style='pytorch')
"""Arguments of OpenMMLab's ResNet that need not be written down."""


def how_to_load(exported: Exported, format: str, file: str | Path) -> dict[str, str]:
    """Python that loads an export, or what goes into a config.

    Args:
        exported (Exported): What was exported.
        format (str): One of :data:`sdr_mm.export.FORMATS`.
        file (str | Path): Where it is.

    Returns:
        dict[str, str]: For each library that takes this format its lines; the library that it is meant for comes first.
    """
    name = str(file)
    if format == 'huggingface':
        return {'timm': _code(
            'import timm', f"network = timm.create_model({'local-dir:' + name!r}, pretrained=True).eval()",
            "# from the Hub: timm.create_model('hf-hub:USER/NAME', pretrained=True)",
            'preprocess = timm.data.create_transform(**timm.data.resolve_model_data_config(network))')}
    if format == 'onnx':
        return {'ONNX Runtime': _code(
            'import onnxruntime', f'session = onnxruntime.InferenceSession({name!r})',
            "features = session.run(['features'], {'images': images})[0]  # arrays of float32")}
    if format == 'torch.export':
        return {'PyTorch': _code('import torch', f'network = torch.export.load({name!r}).module()',
                                 'features = network(images)')}
    if format == 'mmdet':
        return {'MMDetection': _mmdet(exported, name)}
    if format == 'mmpretrain':
        lines = {'MMPretrain': _mmpretrain(exported, name)}
        return lines | {'MMDetection': _mmdet(exported, name)} | _classes(exported, format, name) \
            if is_resnet(exported) else lines
    return _classes(exported, format, name)


def _mmpretrain(exported: Exported, name: str) -> str:
    kind = str(exported.config['type']).rpartition('.')[2]
    return (f'backbone=dict(type={kind!r}, {_arguments(exported.config)},\n'
            f"              init_cfg=dict(type='Pretrained', checkpoint={name!r}))")


def _mmdet(exported: Exported, name: str) -> str:
    shape = exported.config
    mean, std = (list(values) for values in exported.settings.normalization)
    arguments = _arguments({key: value for key, value in shape.items() if key != 'out_indices'})
    expansion = 1 if shape['depth'] < 50 else 4
    maps = [shape['base_channels'] * expansion * 2**stage for stage in range(4)]
    return (f"data_preprocessor=dict(type='DetDataPreprocessor', mean={mean},\n"
            f'                       std={std}, bgr_to_rgb=True, pad_size_divisor=32),\n'
            f"backbone=dict(type='ResNet', {arguments}, out_indices=(0, 1, 2, 3),\n"
            f"              style={shape.get('style', 'pytorch')!r}, frozen_stages=1, norm_eval=True,\n"
            f"              norm_cfg=dict(type='BN', requires_grad=True),\n"
            f"              init_cfg=dict(type='Pretrained', checkpoint={name!r})),\n"
            f"neck=dict(type='FPN', in_channels={maps}, out_channels=256, num_outs=5)")


def _arguments(config: dict[str, Any]) -> str:
    first = [key for key in ('depth', 'base_channels', 'stem_channels') if key in config]
    shown = {key: config[key] for key in [*first, *(key for key in config if key not in (*first, 'type'))]
             if key not in DEFAULTS or config[key] != DEFAULTS[key]}
    return ', '.join(f'{key}={value!r}' for key, value in shown.items())


def _classes(exported: Exported, format: str, name: str) -> dict[str, str]:
    """Classes that take the weights, where they would give the same features."""
    read = [line.format(name) for line in READ[format]]
    try:
        shape = resnet_shape(exported, format)
    except InputError:
        return {'PyTorch': _code(*read, f'network.load_state_dict(state)  # a {type(exported.network).__name__}')}
    if format == 'timm':
        return {'timm': _timm(timm_shape(exported, format), read)}
    lines = {'torchvision': _torchvision(shape, read)}
    if shape.stem_channels == STEM:
        lines['timm'] = _timm(shape, read)
    if format == 'safetensors':
        network = f'network = ResNet({_arguments(exported.config)})'  # Its eval() returns nothing.
        lines = {'MMPretrain': _code(*read, 'from mmpretrain.models import ResNet', network, 'network.eval()',
                                     LOAD)} | lines
    return lines


def _timm(shape: ResNetShape, read: list[str]) -> str:
    arguments = ''.join(f', {key}={value!r}' for key, value in timm_arguments(shape).items())
    network = f"network = timm.create_model('resnet{shape.depth}', num_classes=0{arguments}).eval()"
    return _code(*read, 'import timm', network, LOAD)


def _torchvision(shape: ResNetShape, read: list[str]) -> str:
    usual = ResNetShape(shape.depth, base_channels=64)
    if shape == usual:
        return _code(*read, 'import torch', 'import torchvision',
                     f'network = torchvision.models.resnet{shape.depth}().eval()', 'network.fc = torch.nn.Identity()',
                     LOAD)
    arguments = ', '.join(f'{key}={value}' for key, value in shape._asdict().items()
                          if key == 'depth' or value != getattr(usual, key))
    return _code(*read, 'from sdr_mm.export import torchvision_resnet',
                 f'network = torchvision_resnet({arguments}).eval()', LOAD)


def _code(*lines: str) -> str:
    """A program: its imports, sorted, and the rest as it is."""
    imports = sorted({line for line in lines if line.startswith(('import ', 'from '))})
    return '\n'.join([*imports, '', *(line for line in lines if line not in imports)])
