"""Tasks on MMPretrain's data sets: a short config says which, how they are split and where to get them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from mmengine.config import Config

from ..errors import InputError
from ..images import ImageSource
from ..registry import DATASETS
from .task import Split, Task, check_classes, hold_out

KINDS: dict[str, Any] = dict(name=str, data_root=str, metric=str, files=list, source=str, counts=dict)


@dataclass(frozen=True)
class TaskConfig:
    """What a config of a task says, for example ``configs/tasks/food101.py``.

    Args:
        name (str): For tables.
        data_root (str): The folder of the data set, ``data/…``.
        train (dict): ``type``, a class of MMPretrain or of this package, and options, but ``data_root``.
        test (dict): The same, of the data set that tests.
        val (dict | float, optional): The same, of the official validation set; or which part of the
            training images is held out (:func:`hold_out`). Defaults to None, what evaluations hold out.
        metric (str): See :class:`Task`. Defaults to 'accuracy'.
        files (list[str]): Files and folders that must be there, relative to ``data_root``.
        source (str): Where to get them, for messages.
        counts (dict[str, int]): Images that ``train``, ``val`` and ``test`` must list.

    Raises:
        InputError: If a value cannot be used.
    """

    name: str
    data_root: str
    train: dict[str, Any]
    test: dict[str, Any]
    val: dict[str, Any] | float | None = None
    metric: str = 'accuracy'
    files: list[str] = field(default_factory=list)
    source: str = ''
    counts: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for part, section in self.sections.items():
            if not isinstance(section, dict) or 'type' not in section or 'data_root' in section:
                raise InputError(f'task {self.name}: {part} must be a dict with the type of a data set and its options '
                                 f'without data_root, which stands above, got {section!r}')
        if isinstance(self.val, (int, float)) and not 0 < self.val < 1:
            raise InputError(f'task {self.name}: val is a data set or a part of the training images between 0 and 1, '
                             f'got {self.val}')
        if strange := sorted(set(self.counts) - set(self.sections)):
            raise InputError(f'task {self.name}: counts has {strange[0]!r}, but its data sets are '
                             f'{", ".join(self.sections)}')

    @classmethod
    def from_file(cls, path: str | Path, data_root: str | Path | None = None) -> TaskConfig:
        """Reads a config file.

        Args:
            path (str | Path): A Python file that sets the arguments of this class, and its own that begin with ``_``.
            data_root (str | Path, optional): Folder in place of ``data`` in its ``data_root``. Defaults to None.

        Raises:
            InputError: If the file cannot be read, or a value is missing, unknown or of no use.
        """
        path = Path(path).expanduser()
        if not os.path.isfile(path):
            raise InputError(f'there is no task config {path}: give a file like configs/tasks/food101.py')
        try:
            values = Config.fromfile(path).to_dict()
        except Exception as error:  # it runs the file, which may raise anything
            raise InputError(f'task config {path} cannot be read ({_reason(error)}): correct the file') from error
        values = {key: value for key, value in values.items() if not key.startswith('_')}
        known = [item.name for item in fields(cls)]
        if strange := sorted(set(values) - set(known)):
            raise InputError(f'task config {path} has the unknown key {strange[0]!r}: known are {", ".join(known)}')
        if missing := [key for key in ('name', 'data_root', 'train', 'test') if key not in values]:
            raise InputError(f'task config {path} lacks {", ".join(missing)}: see configs/tasks/food101.py')
        for key, kind in KINDS.items():
            if key in values and not isinstance(values[key], kind):
                raise InputError(f'task config {path}: {key} is of another kind in configs/tasks/food101.py, '
                                 f'got {values[key]!r}')
        root = Path(values['data_root']).expanduser()
        if data_root is not None and root.parts[:1] == ('data', ):
            root = Path(data_root).expanduser().joinpath(*root.parts[1:])
        return cls(**{**values, 'data_root': str(root)})

    @property
    def sections(self) -> dict[str, dict[str, Any]]:
        """The data sets by part, in the order train, val, test."""
        return {part: getattr(self, part) for part in ('train', 'val', 'test')
                if not (part == 'val' and isinstance(self.val, (int, float, type(None))))}

    def missing(self) -> list[str]:
        """Those of ``files`` that are not there, or folders of them that are empty."""
        return [name for name in self.files if not (path := Path(self.data_root, name)).exists()
                or path.is_dir() and not any(path.iterdir())]

    def load(self) -> Task:
        """Reads labels and splits, but no images, and checks that the image files are there.

        All ranks must call: MMPretrain's classes may wait for each other.

        Raises:
            InputError: If files are missing, or what they say cannot be used or is not what was expected.
        """
        if missing := self.missing():
            self._refuse(f'{", ".join(missing[:3])}{f" and {len(missing) - 3} more" if missing[3:] else ""} missing in '
                         f'{self.data_root}')
        names: list[str] | None = None
        paths: list[ImageSource] = []
        labels: list[Any] = []
        parts: dict[str, np.ndarray] = {}
        for part, section in self.sections.items():
            infos, classes = self._read(part, section)
            if part in self.counts and len(infos) != self.counts[part]:
                self._refuse(f'{part} lists {len(infos)} images, not {self.counts[part]}')
            if parts and classes != names:
                raise InputError(f'task {self.name}: the classes of {part} are not those of train: '
                                 f'give both the same, in the same order, by classes=[…]')
            names = classes
            parts[part] = np.arange(len(paths), len(paths) + len(infos))
            for info in infos:
                if 'img_path' not in info and 'img' not in info:
                    raise InputError(f'task {self.name}: {part} has no images, only {", ".join(info)}: give a data set '
                                     f'of images')
                paths.append(os.fspath(info['img_path']) if 'img_path' in info else info['img'])
                labels.append(info.get('gt_label'))
        self._check_images(paths, parts)
        table, names = self._labels(labels, paths, names)
        if isinstance(self.val, (int, float)):
            parts['train'], parts['val'] = hold_out(parts['train'], self.val)
        split = Split(parts['train'], parts['test'], parts.get('val'))
        check_classes(table, names, table[split.scoring()[0]], f'task {self.name}')
        return Task(self.name, names, paths, table, [split], self.metric)

    def _read(self, part: str, section: Mapping[str, Any]) -> tuple[list[dict[str, Any]], list[str] | None]:
        """What the data set says of each image, and its classes if it names them."""
        # Read once and let go of, so it need not be packed for the workers of a loader.
        options = {'data_root': self.data_root, 'serialize_data': False, **section}
        kind = options.pop('type')
        kind = DATASETS.get(kind) if isinstance(kind, str) else None
        if kind is None:
            raise InputError(f'task {self.name}: there is no data set {section["type"]!r}: '
                             f'give a class of MMPretrain, for example CustomDataset')
        try:
            dataset = kind(**options)
            infos = [dataset.get_data_info(number) for number in range(len(dataset))]
            classes = dataset.metainfo.get('classes')
        except InputError as error:
            raise InputError(f'task {self.name}: {error}') from error
        except Exception as error:  # damaged files raise nearly anything in MMPretrain's classes
            self._refuse(f'{section["type"]} cannot read {part} ({_reason(error)})', error)
        if not infos:
            self._refuse(f'{part} lists no images')
        return infos, None if classes is None else list(classes)

    def _check_images(self, paths: list[ImageSource], parts: Mapping[str, np.ndarray]) -> None:
        """Looks for the files, folder by folder, and for tests on training images."""
        files = {part: [path for path in (paths[number] for number in numbers) if isinstance(path, str)]
                 for part, numbers in parts.items()}
        split = [(path, *os.path.split(path)) for part in files.values() for path in part]
        try:
            listed = {folder: set(os.listdir(folder or '.')) if os.path.isdir(folder or '.') else set()
                      for folder in {folder for _, folder, _ in split}}
        except OSError as error:
            self._refuse(f'the folder {error.filename} cannot be read ({error.strerror})', error)
        if lost := [path for path, folder, name in split if name not in listed[folder]]:
            self._refuse(f'{len(lost)} of {len(paths)} images missing, the first is {lost[0]}')
        trained = {*files['train'], *files.get('val', ())}
        if shared := [path for path in files['test'] if path in trained]:
            raise InputError(f'task {self.name}: {len(shared)} images both train and test, the first is {shared[0]}: '
                             f'correct train, val or test')

    def _labels(self, labels: list[Any], paths: list[ImageSource],
                names: list[str] | None) -> tuple[np.ndarray, list[str]]:
        """Labels as :class:`Task` has them, and the names of the classes."""
        found = [list(label) if isinstance(label, (list, tuple, np.ndarray)) else label for label in labels]
        several = isinstance(found[0], list)
        highest = 0
        for label, path in zip(found, paths):
            values = label if several and isinstance(label, list) else [label]
            if not all(isinstance(value, (int, np.integer)) and 0 <= value < (len(names) if names else value + 1)
                       for value in values):
                raise InputError(f'task {self.name}: {path if isinstance(path, str) else "an image"} has the label '
                                 f'{label!r}, which is {"none" if label is None else "no class"}: correct the '
                                 f'annotation or remove the image')
            highest = max([highest, *values])
        names = names or [f'class {number + 1}' for number in range(highest + 1)]
        if not several:
            return np.array(found, dtype=np.int64), names
        table = np.zeros((len(found), len(names)), dtype=np.uint8)
        for number, label in enumerate(found):
            table[number, label] = 1
        return table, names

    def _refuse(self, what: str, cause: Exception | None = None) -> NoReturn:
        """Data that are not as they should be: says what to do about it."""
        todo = f'get it from {self.source}' if self.source else 'complete the folder or correct the config'
        raise InputError(f'task {self.name}: {what}: {todo}') from cause


def load_task(source: str | Path, *, splits: int = 1, seed: int = 0, metric: str | None = None,
              data_root: str | Path | None = None) -> Task:
    """Reads a task from a folder (:meth:`Task.from_folder`) or a config (:class:`TaskConfig`).

    Args:
        source (str | Path): A folder of labeled images, or a file ``*.py``.
        splits (int): Random splits of a folder without its own, seeded by ``seed``. Defaults to 1.
        seed (int): Defaults to 0.
        metric (str, optional): In place of the task's own. Defaults to None.
        data_root (str | Path, optional): Folder in place of ``data`` in a config. Defaults to None.

    Raises:
        InputError: If the task cannot be used.
    """
    source = Path(source).expanduser()
    if source.suffix == '.py' and not os.path.isdir(source):
        if splits != 1:
            raise InputError(f'{source} comes with its own split, so --splits {splits} cannot be: leave it out')
        task = TaskConfig.from_file(source, data_root).load()
    elif os.path.isdir(source):  # false too where nobody may look, at which Path raises
        task = Task.from_folder(source, splits=splits, seed=seed)
    else:
        raise InputError(f'there is no folder {source}: give a folder with one subfolder of images for each class, '
                         f'or a task config like configs/tasks/food101.py')
    return task if metric is None else replace(task, metric=metric)


def _reason(error: Exception) -> str:
    return ' '.join(f'{type(error).__name__}: {error}'.split())
