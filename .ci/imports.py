"""Imports every module of the package and prints the versions of what it stands on."""

import importlib
import pkgutil
import platform
from importlib.metadata import version

import sdr_mm

NEEDS_DETECTION = 'sdr_mm.detection'

names = [module.name for module in pkgutil.walk_packages(sdr_mm.__path__, 'sdr_mm.', onerror=lambda _: None)
         if not module.name.startswith(NEEDS_DETECTION)]
for name in names:
    importlib.import_module(name)
found = ', '.join(f'{package} {version(package)}' for package in (
    'torch', 'torchvision', 'numpy', 'scipy', 'scikit-learn', 'faiss-cpu', 'matplotlib', 'pillow', 'tqdm', 'timm',
    'safetensors', 'mmengine', 'mmpretrain'))
print(f'{len(names)} modules imported under Python {platform.python_version()}: {found}')
