"""The model card of an export, in Markdown."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from ..version import __version__
from .exported import Exported
from .loading import how_to_load
from .resnet_shape import is_resnet

LIBRARIES = {'mmpretrain': 'mmpretrain', 'mmdet': 'mmdet', 'torchvision': 'torchvision', 'timm': 'timm',
             'safetensors': 'pytorch', 'onnx': 'onnx', 'torch.export': 'pytorch', 'huggingface': 'timm'}
"""What the Hugging Face Hub calls the library of each format."""

LICENSES = (
    'afl-3.0', 'agpl-3.0', 'apache-2.0', 'bsd-2-clause', 'bsd-3-clause', 'bsd-3-clause-clear', 'cc-by-2.0', 'cc-by-2.5',
    'cc-by-3.0', 'cc-by-4.0', 'cc-by-nc-2.0', 'cc-by-nc-3.0', 'cc-by-nc-4.0', 'cc-by-nc-nd-3.0', 'cc-by-nc-nd-4.0',
    'cc-by-nc-sa-2.0', 'cc-by-nc-sa-3.0', 'cc-by-nc-sa-4.0', 'cc-by-nd-4.0', 'cc-by-sa-3.0', 'cc-by-sa-4.0', 'cc0-1.0',
    'gpl-2.0', 'gpl-3.0', 'isc', 'lgpl-2.1', 'lgpl-3.0', 'mit', 'mpl-2.0', 'unlicense', 'wtfpl', 'zlib')
"""Licenses that have a name in the front matter of the Hub; any other one is ``other``, with its own name."""

UNKNOWN_LICENSE = ('Not stated. Who publishes this file has to state the license of the weights, and the terms of the '
                   'images that they were trained on.')

LONG = 1 << 16
"""Most characters of a license, or of a line of credits."""


def model_card(exported: Exported, format: str, file: str | Path) -> str:
    """Describes an export for those who get it: where it comes from, its input, how it is loaded, its license.

    Text that comes from files is shown as it is, and cannot become anything else in Markdown or YAML. Folders of this
    machine are not named.

    Args:
        exported (Exported): What was exported.
        format (str): One of :data:`sdr_mm.export.FORMATS`.
        file (str | Path): Where it is; the card gives its name.

    Returns:
        str: Markdown with the front matter that the Hugging Face Hub reads.
    """
    sections = [
        _front_matter(exported, format), f'# {_title(exported)}',
        f'A backbone without a classifier: it turns an image into {exported.num_features} features. '
        f'It was cut out of a super-net of Scalable Dynamic Routing, which was pre-trained without labels, and written '
        f'by sdr_mm {__version__}.',
        '## Where it comes from', _facts(_origin(exported)), '## Input', _facts(_input(exported)),
        'Every format takes images that are prepared and normalized already: the normalization is no part of the '
        'network, nor of a graph.', '## Load it']
    for library, lines in how_to_load(exported, format, Path(file).name).items():
        sections += [f'{library}:', f'```python\n{lines}\n```']
    credits = (exported.pretraining.attribution or '').splitlines()
    if credits:
        sections += ['## Images of pre-training, as the checkpoint credits them',
                     '\n'.join(f'- {code(line, LONG)}' for line in credits if line.strip())]
    return '\n\n'.join([*sections, '## License', _license(exported)]) + '\n'


def _front_matter(exported: Exported, format: str) -> str:
    lines = [f'library_name: {LIBRARIES[format]}', 'pipeline_tag: image-feature-extraction', 'tags:',
             '- image-feature-extraction', '- self-supervised-learning', '- backbone', '- sdr-mm']
    if format in ('timm', 'huggingface'):
        lines.append('- timm')
    if exported.license is not None:
        name = exported.license.lower()
        known = name in LICENSES
        lines.append(f'license: {name if known else "other"}')
        if not known and re.fullmatch(r'[a-z0-9][a-z0-9.+-]{0,63}', name):
            lines.append(f'license_name: {json.dumps(name)}')
    return '\n'.join(['---', *lines, '---'])


def _title(exported: Exported) -> str:
    network: Any = exported.network
    name = type(network).__name__
    if is_resnet(exported):
        name += f'-{network.depth} of width {network.base_channels}'
    return f'{name}, sub-net {exported.meta["subnet"]}' if 'subnet' in exported.meta else name


def _origin(exported: Exported) -> dict[str, str]:
    meta, known = exported.meta, exported.pretraining
    facts = {'Super-net': code(meta.get('sdr_checkpoint', 'not known'))}
    if 'path' in meta:
        facts['Sub-net'] = f'{meta.get("subnet")}, on the path {code(",".join(map(str, meta["path"])))}'
    routing = meta.get('routing') or {}
    if routing:
        facts['Task that it was routed for'] = code(routing.get('task'))
        name, score = ((routing.get('settings') or {}).get('columns') or ['score'])[0], routing.get('score')
        facts['Score there'] = f'{code(name)} {score:.2f}' if isinstance(score, (int, float)) else 'none'
        if str(name).startswith('knn') and isinstance(score, (int, float)):
            facts['Score there'] += f' % ({code(routing["settings"].get("metric", "accuracy"))})'
    else:
        facts['Task that it was routed for'] = 'none, it was chosen by its number or path'
    reset = meta.get('bn_reset') or {}
    if reset:
        facts['BN statistics'] = _statistics(reset)
    facts['Pre-training'] = ', '.join(
        ([code(known.algorithm)] if known.algorithm else []) +
        ([f'{known.epochs} epochs'] if known.epochs is not None else [])) or 'not known'
    images = code(known.images) if known.images else 'not known'
    facts['Images of pre-training'] = f'{images}, read as {code(known.dataset)}' if known.dataset else images
    facts['Parameters'] = f'{exported.num_parameters:,}'
    return facts


def _statistics(reset: dict[str, Any]) -> str:
    source = str(reset.get('statistics', ''))
    cluster = source.removeprefix('cluster ')
    if source != cluster:
        what = f'measured on cluster {code(cluster)} of the images of pre-training'
    elif source == 'own':
        return "the super-net's, which are a mixture of those of all sub-nets"
    else:
        what = {'task': 'measured on training images of the task',
                'pool': 'measured on images of pre-training'}.get(source, code(source))
    return f'{what}, {reset.get("images")} images'


def _input(exported: Exported) -> dict[str, str]:
    settings = exported.settings
    mean, std = settings.normalization
    colors = 'RGB' if exported.in_channels == 3 else f'{exported.in_channels} channel(s)'
    return {
        'Images': colors,
        'Size': f'short side to {settings.resize} px, bicubic; then the center of {settings.size} × {settings.size} px',
        'Mean and std, values from 0 to 255': f'{code(_numbers(mean))} and {code(_numbers(std))}',
        'The same, values from 0 to 1': ' and '.join(
            code(_numbers(round(value / 255, 6) for value in values)) for values in (mean, std))}


def _numbers(values: Any) -> str:
    return ', '.join(f'{value:g}' for value in values)


def _license(exported: Exported) -> str:
    parts = [UNKNOWN_LICENSE if exported.license is None else f'License of the weights: {code(exported.license, LONG)}']
    if exported.pretraining.license:
        parts.append(f'The checkpoint that it was cut out of says: {code(exported.pretraining.license, LONG)}')
    return '\n\n'.join(parts)


def _facts(facts: dict[str, str]) -> str:
    return '\n'.join(f'- {name}: {value}' for name, value in facts.items())


def code(value: Any, most: int = 200) -> str:
    """Text as code of one line, in which Markdown, HTML and links mean nothing.

    Line breaks and characters without a shape become spaces, and text of more than ``most`` characters is cut.
    """
    text = ' '.join(''.join(char if char.isprintable() else ' ' for char in str(value)).split())
    text = text if len(text) <= most else f'{text[:most - 2]} …'
    longest = max(map(len, re.findall('`+', text)), default=0)
    fence = '`' * (longest + 1)
    space = ' ' if not text or '`' in (text[0], text[-1]) else ''
    return f'{fence}{space}{text or "(empty)"}{space}{fence}'
