"""Registered names, asked for in processes that have imported nothing but ``sdr_mm``."""

import ast
import json
import re
import subprocess
import sys
from collections import defaultdict

import pytest
from PIL import Image
from repository import ROOT

SDR = ROOT / 'configs/small/sdr_simsiam_resnet18_b64-15e_32px.py'

# A child for each registry and way: its first question finds nothing of ours imported but the registries. What takes
# long and registers nothing of ours is imported once, before.
ASK = """
import json, os, sys
import mmpretrain.models, mmpretrain.datasets, torch
from sdr_mm import registry

for kind, names in json.loads(sys.argv[1]).items():
    ours = getattr(registry, kind)
    for way in ('ours', 'root'):
        child = os.fork()
        if not child:
            assert not any(f'sdr_mm.{part}' in sys.modules for part in ('datasets', 'engine', 'models', 'routing'))
            lost = [name for name in names
                    if (ours.get(name) if way == 'ours' else ours.parent.get('sdr_mm.' + name)) is None]
            os._exit(bool(lost) and print(kind, way, *lost, file=sys.stderr, flush=True) is None)
        if os.waitpid(child, 0)[1]:
            sys.exit(f'{kind}, asked {way}')
"""


def registered():
    """Registry and names of all that the package registers, read from its source; detection has to be imported."""
    names = defaultdict(list)
    for file in sorted((ROOT / 'sdr_mm').rglob('*.py')):
        for node in ast.walk(ast.parse(file.read_text())):
            for call in getattr(node, 'decorator_list', ()):
                if isinstance(call, ast.Call) and ast.unparse(call.func).endswith('.register_module') \
                        and 'detection' not in file.parts:
                    names[ast.unparse(call.func).split('.')[0]].append(
                        call.args[0].value if call.args else node.name)
    return dict(names)


def python(*argv):
    return subprocess.run([sys.executable, '-W', 'ignore', *map(str, argv)], capture_output=True, text=True, cwd=ROOT)


def test_the_names_are_found_in_the_source():
    names = registered()
    assert {'RoutingHook', 'ProgressiveTrainingHook'} <= {*names['HOOKS']} and names['WEIGHT_INITIALIZERS'] == [
        'Pretrained']
    assert sum(map(len, names.values())) > 20


@pytest.mark.slow
def test_each_registry_finds_its_names_first_thing():
    done = python('-c', ASK, json.dumps(registered()))
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.slow
def test_routing_hook_runs_as_the_tutorial_shows_it(tmp_path):
    """Its lines of Python, in a config, in a fresh process, up to where the hook builds its evaluator."""
    block, = (block for block in re.findall(r'```python\n(.*?)```', (ROOT / 'docs/best_backbone.md').read_text(), re.S)
              if 'RoutingHook' in block)
    for label in ('cat', 'dog'):
        for number in range(6):
            file = tmp_path / f'my_images/{label}/{number}.png'
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.new('RGB', (8, 8), (40 * number, 0, 0)).save(file)
    config = tmp_path / 'config.py'
    config.write_text(f'_base_ = {str(SDR)!r}\nwork_dir = {str(tmp_path)!r}\n' +
                      block.replace("'my_images'", repr(str(tmp_path / 'my_images'))))
    done = python('-c', f"""
from mmengine.config import Config
from mmengine.runner import Runner
runner = Runner.from_cfg(Config.fromfile({str(config)!r}))
hook, = (hook for hook in runner.hooks if type(hook).__name__ == 'RoutingHook')
hook.before_train(runner)
print(type(hook.evaluator).__name__)
""")
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split()[-1] == 'RoutingEvaluator'
