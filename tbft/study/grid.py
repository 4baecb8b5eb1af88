"""A grid over the options of `fit`: which cells it has, what each is called, and in which order they run."""

import hashlib
import itertools
import json
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tbft.errors import BadInput
from tbft.presets import find

REPLICATES = ("repeat", "seed")  # outermost: a slow change of the machine meets every strategy alike
STRATEGY = "strategy"
LEVELS_OWN = "block"  # the strategy that a level's preset already is

Options = Mapping[str, Any]
Point = tuple[str, Options]
"""A place on an axis: its label, and the options of `fit` that make it."""


@dataclass
class Study:
    """A grid of runs.

    Args:
        name: Name of the study, and of the group of its cells in W&B.
        root: Folder of the records, the ledger.
        grid: Axes. A mapping of labels to options of `fit` is an axis of its own name; a list is an axis over
            the values of the option it is named after. `strategy` lists presets (`block3` is
            `strategy/block3.yaml`, laid over
            everything else; `block` is the level's own), `seed` values of `seed_everything`, and
            `repeat` how many times or under which labels to run the same again. The axis `drift`, seeds and
            repeats are averaged in the tables.
        options: Options of `fit` that all cells share; `config` lists presets or files.
        exclude: Parts of the grid to leave out; each names labels on some axes, as one or a list.
        order_seed: Shuffles the strategies, which take turns, so that none meets a warmer machine.
    """

    name: str
    root: Path
    grid: dict[str, Any]
    options: dict[str, Any] = field(default_factory=dict)
    exclude: list[dict[str, Any]] = field(default_factory=list)
    order_seed: int = 0


@dataclass(frozen=True)
class Cell:
    """One run of a study.

    Attributes:
        key: Readable name and a hash of the arguments; the run's folder in the ledger.
        labels: Its place on each axis.
        arguments: Arguments of `fit`, without where it is recorded.
    """

    key: str
    labels: Mapping[str, str]
    arguments: tuple[str, ...]


def cells_of(study: Study) -> list[Cell]:
    """Make the cells of a study in the order in which they run.

    Repeats and seeds change slowest; for each of them and each place on the other axes, all strategies run
    one after the other in shuffled order.

    Raises:
        BadInput: When the grid is empty or misspelt, a preset is unknown, or two cells would do the same.
    """
    if not study.grid:
        raise BadInput(f"the grid of study {study.name!r} is empty: give it an axis, such as seed: [0, 1, 2]")
    axes = {name: _axis(name, points) for name, points in study.grid.items()}
    for clause in study.exclude:
        _check_clause(clause, axes)
    outer = [name for name in REPLICATES if name in axes]
    inner = [name for name in axes if name not in (*REPLICATES, STRATEGY)]
    chance = random.Random(study.order_seed)
    cells: list[Cell] = []
    for place in itertools.product(*(axes[name] for name in (*outer, *inner))):
        turn = list(axes.get(STRATEGY, [("", {})]))
        chance.shuffle(turn)
        for strategy in turn:
            points = dict(zip((*outer, *inner), place, strict=True))
            ordered = {name: points.get(name, strategy) for name in axes}
            labels = {name: label for name, (label, _) in ordered.items()}
            if not any(_excluded(clause, labels) for clause in study.exclude):
                cells.append(_cell(study, ordered, labels))
    if not cells:
        raise BadInput(f"study {study.name!r} has no cell: all of its grid is excluded; leave some of it in")
    _refuse_doubles(cells)
    return cells


def _axis(name: str, points: Any) -> list[Point]:
    if name == "repeat" and isinstance(points, int) and not isinstance(points, bool):
        points = list(range(points))
    if isinstance(points, Mapping):
        made = [(str(label), _mapping(name, label, options)) for label, options in points.items()]
    elif isinstance(points, Sequence) and not isinstance(points, str):
        made = [_value(name, value) for value in points]
    else:
        raise BadInput(f"grid.{name} is {points!r}: give a list of values, or a mapping of labels to fit options")
    if not made:
        raise BadInput(f"grid.{name} is empty: give it a value, or leave the axis out")
    return made


def _mapping(name: str, label: Any, options: Any) -> Options:
    if not isinstance(options, Mapping):
        raise BadInput(
            f"grid.{name}.{label} is {options!r}: give a mapping of fit options, such as data.train_size: 100"
        )
    return options


def _value(name: str, value: Any) -> Point:
    if name == STRATEGY:
        preset = str(value)
        if preset == LEVELS_OWN:
            return preset, {}
        return Path(preset).stem, {"config": preset if preset.endswith(".yaml") else f"strategy/{preset}.yaml"}
    if name == "seed":
        return str(value), {"seed_everything": value}
    if name == "repeat":
        return str(value), {}
    return _text(value), {name: value}


def _cell(study: Study, points: Mapping[str, Point], labels: dict[str, str]) -> Cell:
    last = [name for name in points if name == STRATEGY]  # a strategy is laid over level and data
    order = [name for name in points if name != STRATEGY] + last
    configs: list[str] = []
    options: dict[str, Any] = {}
    for given in (study.options, *(points[name][1] for name in order)):
        for option, value in given.items():
            if option == "config":
                configs += [value] if isinstance(value, str) else [str(config) for config in value]
            else:
                options.update(_flat(option, value))
    whole_first = sorted(options, key=lambda option: option.count("."))  # `data` before `data.root`
    arguments = [part for config in configs for part in ("--config", config)]
    arguments += [part for option in whole_first for part in (f"--{option}", _text(options[option]))]
    content = [yaml.safe_load(find(config).read_text(encoding="utf-8")) for config in configs]
    identity = json.dumps([content, options, labels.get("repeat")], sort_keys=True, default=str)
    digest = hashlib.sha256(identity.encode()).hexdigest()[:8]
    words = [_word(name, label) for name, label in labels.items()]
    return Cell("-".join([*words, digest]), labels, tuple(arguments))


def _flat(option: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Spell a nested mapping as dotted options, the way a command line does."""
    if not isinstance(value, Mapping):
        yield option, value
        return
    for name, inner in value.items():
        yield from _flat(f"{option}.{name}", inner)


def _text(value: Any) -> str:
    """A value as the command line of `fit` reads it."""
    return value if isinstance(value, str) else json.dumps(value)


def _word(axis: str, label: str) -> str:
    """A label as part of a folder's name; a bare number or flag says which axis it is on."""
    plain = re.sub(r"[^A-Za-z0-9_.+]+", "_", label).strip("_.") or "none"
    bare = re.fullmatch(r"[\d.e+]+|true|false|null|none", plain) is not None
    return f"{axis.split('.')[-1]}{plain}" if bare and axis != STRATEGY else plain


def _check_clause(clause: Any, axes: Mapping[str, list[Point]]) -> None:
    if not clause:
        raise BadInput("exclude has an empty clause: name labels on an axis, such as {seed: 2}, or leave it out")
    for axis, wanted in clause.items():
        if axis not in axes:
            raise BadInput(f"exclude names the axis {axis!r}, which grid does not have: {', '.join(axes) or 'none'}")
        if not _labels(wanted):
            raise BadInput(f"exclude.{axis} is empty: name labels on the axis, or leave it out")
        known = {label for label, _ in axes[axis]}
        unknown = [label for label in _labels(wanted) if label not in known]
        if unknown:
            raise BadInput(f"exclude.{axis} names {', '.join(unknown)}, but the axis has {', '.join(sorted(known))}")


def _excluded(clause: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    return all(labels[axis] in _labels(wanted) for axis, wanted in clause.items())


def _labels(wanted: Any) -> list[str]:
    return [_text(value) for value in (wanted if isinstance(wanted, list) else [wanted])]


def _refuse_doubles(cells: Sequence[Cell]) -> None:
    seen: dict[str, Cell] = {}
    for cell in cells:
        other = seen.setdefault(cell.key.rsplit("-", 1)[-1], cell)
        if other is not cell:
            raise BadInput(f"cells {other.key} and {cell.key} have the same arguments: change or exclude one")
