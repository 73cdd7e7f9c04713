"""What a study consists of: a config that lists its tasks and its runs."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from mmengine.config import Config

from projects.real_data.preparation import DATA_SETS
from sdr_mm.errors import InputError

RANDOM, REFERENCES = 'random', 'references'
"""What each study has beside its runs: a network with random weights, and features that nobody learned."""
CLUSTERS = ('', 'semantic', 'random')
KINDS: dict[str, Any] = dict(config=str, epochs=int, about=str, start=str, domains=(tuple, list), clusters=str,
                             paths=str, blocks=int, shared=bool, separate=bool, prune=str, options=dict,
                             over=(tuple, list))
"""What the entries of a run are in a plan."""


@dataclass(frozen=True)
class Run:
    """One training.

    Attributes:
        config (Path): What is trained, relative to the file of the plan.
        epochs (int): Passes over the pool. A run on less than the pool has as many iterations, hence more passes.
        about (str): What it is, for the table.
        start (str): The run whose network it begins with. Defaults to '', none.
        domains (tuple[str, ...]): Folders of the pool whose images it trains on. Defaults to (), all.
        clusters (str): How its images are divided: ``'semantic'`` by the features of ``start`` (of the first run, if it
            has none), ``'random'``, or '' for not at all. Defaults to ''.
        paths (str): Which cluster is on which path, as ``tools/cluster.py --paths`` has it. Defaults to 'index'.
        blocks (int): There are ``4 ** blocks`` clusters; SDR routes the last stages. Defaults to 2.
        shared (bool): Whether every sub-net trains on the images of all clusters. Defaults to False.
        separate (bool): Whether a plain network of its own is trained on each cluster, which share nothing. Defaults to
            False.
        prune (str): ``'weights'`` or ``'channels'``: trains nothing, and prunes the network of ``start`` by magnitude
            to the size of the first run's. Channels leave a stem one channel narrower than that, because a stem as wide
            as the first stage has no projection behind it. Defaults to ''.
        options (dict): What else is set in the config, as by ``--cfg-options``. Defaults to {}.
        over (tuple[str, ...]): Runs to show its gains over. Defaults to ().
    """

    config: Path
    epochs: int
    about: str
    start: str = ''
    domains: tuple[str, ...] = ()
    clusters: str = ''
    paths: str = 'index'
    blocks: int = 2
    shared: bool = False
    separate: bool = False
    prune: str = ''
    options: dict[str, Any] = field(default_factory=dict)
    over: tuple[str, ...] = ()


@dataclass(frozen=True)
class Plan:
    """A study.

    Attributes:
        name (str): That of its file.
        tasks (tuple[str, ...]): Data sets that :mod:`projects.real_data` prepares.
        runs (dict[str, Run]): By name; a run comes after those that it begins with.
    """

    name: str
    tasks: tuple[str, ...]
    runs: dict[str, Run]

    @property
    def first(self) -> str:
        """The run whose features divide the pool for those that begin with none."""
        return next(iter(self.runs))


def read_plan(file: str | Path) -> Plan:
    """Reads a plan, a config of MMEngine with ``tasks`` and ``runs``; as every config it is Python, and runs.

    Raises:
        InputError: If it cannot be read, or its tasks or runs are none that can be trained and scored.
    """
    file = Path(file)
    if not file.is_file():
        raise InputError(f'there is no plan {file}: give one of configs/studies')
    try:
        content = Config.fromfile(str(file)).to_dict()
    except Exception as error:  # it runs the file, which may raise anything
        reason = ' '.join(f'{type(error).__name__}: {error}'.split())
        raise InputError(f'plan {file} cannot be read ({reason}): correct the file') from error
    tasks, entries = content.get('tasks'), content.get('runs')
    if not (isinstance(tasks, (tuple, list)) and tasks and isinstance(entries, dict) and entries):
        raise InputError(f'{file} is no plan of a study: it needs tasks, a list of names, and runs, a dict by name')
    known = [name for name, data_set in DATA_SETS.items() if data_set.kind == 'task']
    if strange := [task for task in tasks if task not in known]:
        raise InputError(f'{file} has the task {strange[0]!r}, which is not prepared: choose among {", ".join(known)}')
    runs: dict[str, Run] = {}
    for name, entry in entries.items():
        if not name.isidentifier() or name in (RANDOM, REFERENCES):
            raise InputError(f'{file} has a run {name!r}: its files cannot be named like that')
        runs[name] = _run(file, name, entry, runs)
    return Plan(file.stem, tuple(tasks), runs)


def _run(file: Path, name: str, entry: Any, before: dict[str, Run]) -> Run:
    """A run of the plan ``file``, checked."""
    where = f'{file}, run {name}'
    known = {part.name: part for part in fields(Run)}
    if not isinstance(entry, dict) or (strange := sorted(entry.keys() - known.keys())):
        raise InputError(f'{where} has {strange[0] if isinstance(entry, dict) else "no entries"}: a run has '
                         f'{", ".join(known)}')
    if lacking := [part for part in ('config', 'epochs', 'about') if part not in entry]:
        raise InputError(f'{where} has no {lacking[0]}: add it')
    for key, value in entry.items():
        if not isinstance(value, KINDS[key]) or isinstance(value, bool) and KINDS[key] is int:
            raise InputError(f'{where}: {key} cannot be {value!r}')
    run = Run(**{**entry, 'config': (file.parent / entry['config']).resolve(),
                 **{key: tuple(entry.get(key, ())) for key in ('domains', 'over')}})
    if not run.config.is_file():
        raise InputError(f'{where}: there is no config {run.config}: give a path relative to the plan')
    if run.epochs < 1 or run.blocks < 1:
        raise InputError(f'{where}: epochs and blocks are at least 1')
    if run.clusters not in CLUSTERS:
        raise InputError(f'{where}: clusters are {" or ".join(map(repr, CLUSTERS))}, got {run.clusters!r}')
    if run.paths not in ('index', 'hierarchical'):
        raise InputError(f"{where}: paths are 'index' or 'hierarchical', got {run.paths!r}")
    if unknown := [other for other in (run.start, *run.over) if other and other not in before]:
        raise InputError(f'{where} needs the run {unknown[0]}, which is not before it')
    if (run.shared or run.separate) and not run.clusters:
        raise InputError(f'{where}: shared and separate are of runs with clusters')
    if run.prune not in ('', 'weights', 'channels') or run.prune and not run.start:
        raise InputError(f"{where}: prune is 'weights' or 'channels' of the run that start names, got {run.prune!r}")
    if run.domains and run.clusters:
        raise InputError(f'{where}: domains are of runs without clusters')
    return run
