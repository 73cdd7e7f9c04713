"""What a user does with the installed package, from a folder that is not the repository: run in an empty environment.

    python .ci/installed.py FOLDER

Images are generated; the network is the one that ships with the package.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

import sdr_mm


def write_task(folder: Path) -> Path:
    """Two classes of 12 pictures: bright at the top, and at the bottom."""
    random = np.random.default_rng(0)
    for number in range(24):
        image = random.integers(0, 120, (40, 40, 3), dtype=np.uint8)
        image[:20] = image[:20] + 100 if number % 2 else image[:20]
        image[20:] = image[20:] if number % 2 else image[20:] + 100
        file = folder / ('top' if number % 2 else 'bottom') / f'{number:02d}.png'
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(file)
    return folder


def tool(name: str, *arguments: object) -> str:
    """What a tool of the package prints; it must succeed."""
    script = Path(sdr_mm.__file__).parent / '.mim/tools' / f'{name}.py'
    done = subprocess.run([sys.executable, '-W', 'ignore', str(script), *map(str, arguments)], text=True,
                          capture_output=True)
    assert done.returncode == 0, f'{name} ended with {done.returncode}: {done.stderr[-2000:]}'
    return done.stdout


def main(folder: Path) -> None:
    installed = Path(sdr_mm.__file__).parent
    assert 'site-packages' in installed.parts, f'this is not the installed package: {installed}'
    assert (installed / 'py.typed').is_file()
    task = write_task(folder / 'task')
    sdr = sdr_mm.load('pool-r18', device='cpu')
    ranking = sdr.route(task, bn='task')
    sdr.subnet(ranking.best).export(folder / 'backbone.pth')
    print(f'sdr_mm {sdr_mm.__version__}: the best of {len(ranking.networks)} networks is {ranking.best.name}')
    print(tool('knn_eval', folder / 'backbone.pth', '--task', task, '--device', 'cpu').strip().splitlines()[-1])
    tool('train', installed / '.mim/configs/small/simsiam_resnet18_b64-15e_32px.py', '--data', task, '--epochs', 1,
         '--work-dir', folder / 'run', '--cfg-options', 'train_dataloader.batch_size=4',
         'train_dataloader.num_workers=0')
    assert (folder / 'run/epoch_1.pth').is_file()
    print('a config of the package trains')


if __name__ == '__main__':
    main(Path(sys.argv[1]))
