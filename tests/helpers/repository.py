"""Where the repository is, and its tools as modules."""

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parents[2]


def load_tool(name: str) -> ModuleType:
    """The script ``tools/NAME.py`` as a module. Scripts are no package, and one is called like a standard module."""
    spec = spec_from_file_location(f'tool_{name}', ROOT / 'tools' / f'{name}.py')
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
