"""A grid over the options of `fit`: its cells, their names, and the order in which they run."""

import hashlib
import itertools
import json
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tbft.errors import BadInput
from tbft.study.running.cell_options import (
    Options,
    command_line,
    configs_in,
    flatten,
    lay_over,
    leave_out,
    options_of_configs,
    read_configs,
    same_option,
    setter_of,
    text_of,
    without_spelling,
)

REPLICATES = ("repeat", "seed")  # outermost, so that slow changes of the machine affect all strategies alike
STRATEGY = "strategy"
DRIFT = "drift"
PART = "part"  # name of the label, beside those of the axes, of the part that a cell's drift belongs to
LARGEST_SEED = 2**32 - 1
LEVELS_OWN = "block"  # the strategy without a preset: the level's own recipe


@dataclass(frozen=True)
class Point:
    """A place on an axis.

    Attributes:
        label: Name of the place in keys, tables and `exclude`.
        options: Options of `fit` that the place sets.
        by_value: Whether the label is the value of the option, so that nothing else may set this option.
    """

    label: str
    options: Options
    by_value: bool = False


@dataclass
class Study:
    """A grid of runs.

    Args:
        name: Name of the study, and of the group of its cells in W&B.
        root: Folder of the records, the ledger.
        grid: Axes of the grid. A mapping is an axis with any name, from labels to options of `fit`; a list is an axis
            over values of the option that it is named after. `strategy` lists presets (`block3` is
            `strategy/block3.yaml`; `block` is the level's own recipe). What a strategy's preset sets wins over the
            options of the study and of the other axes. `seed` lists values of `seed_everything`, and `repeat` is the
            number of repeats or their labels. Tables average over the axis `drift`, seeds and repeats.
        options: Options of `fit` that all cells share; `config` lists presets or files. An axis wins over them.
        parts: Drifts that tables keep apart: from the name of a part to labels on the axis `drift`, such as those on
            which a threshold was chosen and those on which it is tested.
        exclude: Parts of the grid to leave out; each maps axes to a label or a list of labels.
        order_seed: Seed that shuffles the order of the strategies at each place on the other axes, so that no strategy
            always runs on a warmer machine.
    """

    name: str
    root: Path
    # Plain `dict`: jsonargparse reads the strings in a `dict[str, Any]` as YAML again, and "off" becomes false.
    grid: dict
    options: dict = field(default_factory=dict)
    parts: dict = field(default_factory=dict)
    exclude: list[dict] = field(default_factory=list)
    order_seed: int = 0


@dataclass(frozen=True)
class Cell:
    """One run of a study.

    Attributes:
        key: Name of the run's folder in the ledger: readable words and a hash of the arguments.
        labels: Labels of the cell by axis, and the part that its drift belongs to, if any.
        arguments: Arguments of `fit`, without those of where the run is recorded.
    """

    key: str
    labels: Mapping[str, str]
    arguments: tuple[str, ...]


def cells_of(study: Study) -> list[Cell]:
    """Make the cells of a study in the order in which they run.

    Repeats and seeds change slowest. For each of them and each place on the other axes, all strategies run one after
    the other in shuffled order.

    Raises:
        BadInput: When the grid is empty or misspelt, a preset is unknown, or two cells have the same arguments.
    """
    if not study.grid:
        raise BadInput(f"the grid of study {study.name!r} is empty: give it an axis, such as seed: [0, 1, 2]")
    grid = {text_of(name): points for name, points in study.grid.items()}
    axes = {name: _axis(name, points) for name, points in grid.items()}
    clauses = [{text_of(axis): wanted for axis, wanted in clause.items()} for clause in study.exclude]
    for clause in clauses:
        _check_clause(clause, axes)
    part_of = _parts(study.parts, axes)
    outer = [name for name in REPLICATES if name in axes]
    inner = [name for name in axes if name not in (*REPLICATES, STRATEGY)]
    chance = random.Random(study.order_seed)
    cells: list[Cell] = []
    for place in itertools.product(*(axes[name] for name in (*outer, *inner))):
        turn = list(axes.get(STRATEGY, [Point("", {})]))
        chance.shuffle(turn)
        for strategy in turn:
            points = dict(zip((*outer, *inner), place, strict=True))
            ordered = {name: points.get(name, strategy) for name in axes}
            labels = {name: point.label for name, point in ordered.items()}
            if not any(_excludes(clause, labels, axes) for clause in clauses):
                cell = _cell(study, ordered, labels)
                part = part_of.get(labels.get(DRIFT, ""))
                cells.append(replace(cell, labels={PART: part, **labels}) if part else cell)
    if not cells:
        raise BadInput(f"study {study.name!r} has no cell: all of its grid is excluded; leave some of it in")
    _refuse_doubles(cells)
    return cells


def _parts(parts: Mapping[Any, Any], axes: Mapping[str, list[Point]]) -> dict[str, str]:
    """Return the part that each drift belongs to, by the drift's label; a part may name drifts that the grid lacks."""
    if parts and (DRIFT not in axes or PART in axes):
        raise BadInput("parts name drifts, and grid has no axis drift or one called part: leave parts out")
    part_of: dict[str, str] = {}
    for part, drifts in parts.items():
        for drift in map(text_of, drifts if isinstance(drifts, list) else [drifts]):
            if part_of.setdefault(drift, text_of(part)) != text_of(part):
                raise BadInput(f"parts has {drift} under {part_of[drift]} and {text_of(part)}: keep one of them")
    apart = [point.label for point in axes.get(DRIFT, ()) if part_of and point.label not in part_of]
    if apart:
        raise BadInput(f"no part has {', '.join(apart)}: name them under parts, or leave parts out")
    return part_of


def _axis(name: str, points: Any) -> list[Point]:
    if name == "repeat" and not isinstance(points, bool) and re.fullmatch(r"\d+", str(points)):
        points = list(range(int(points)))
    if isinstance(points, Mapping):
        made = [_mapping(name, text_of(label), options) for label, options in points.items()]
    elif isinstance(points, Sequence) and not isinstance(points, str):
        made = [_value(name, value) for value in points]
    else:
        raise BadInput(f"grid.{name} is {points!r}: give a list of values, or a mapping of labels to fit options")
    if not made:
        raise BadInput(f"grid.{name} is empty: give it a value, or leave the axis out")
    labels = [point.label for point in made]
    twice = next((label for label in labels if labels.count(label) > 1), None)
    if twice is not None:
        raise BadInput(f"grid.{name} has {twice} twice: the two cannot be told apart, so leave one out")
    return made


def _mapping(name: str, label: str, options: Any) -> Point:
    if not isinstance(options, Mapping):
        raise BadInput(
            f"grid.{name}.{label} is {options!r}: give a mapping of fit options, such as data.train_size: 100"
        )
    return Point(label, options)


def _value(name: str, value: Any) -> Point:
    label = text_of(value)
    if name == STRATEGY:
        preset = label.removesuffix(".yaml")
        if preset == LEVELS_OWN:
            return Point(preset, {})
        return Point(Path(preset).name, {"config": label if label.endswith(".yaml") else f"strategy/{preset}.yaml"})
    if name == "seed":
        if not re.fullmatch(r"\d+", label) or int(label) > LARGEST_SEED:
            raise BadInput(f"grid.seed has {label}: give whole numbers from 0 to {LARGEST_SEED}, such as [0, 1, 2]")
        return Point(label, {"seed_everything": value}, by_value=True)
    if name == "repeat":
        return Point(label, {})
    return Point(label, {name: value}, by_value=True)


def _cell(study: Study, points: Mapping[str, Point], labels: dict[str, str]) -> Cell:
    strategy = points.get(STRATEGY, Point("", {}))
    places = {name: point for name, point in points.items() if name != STRATEGY}
    _refuse_two_axes_for_one_option(places)
    presets = configs_in(strategy.options)
    decided = options_of_configs(presets)
    for name, point in places.items():
        _refuse_overruled_axis(name, point, strategy, decided)
    given = (study.options, *(point.options for point in places.values()))
    configs = [config for options in given for config in configs_in(options)] + presets
    options: dict[str, Any] = {}
    for each in given:
        options = lay_over(options, _own(each))
    options = lay_over(leave_out(options, decided), _own(strategy.options))
    reaching = {name: without_spelling(value) for name, value in options.items()}
    identity = json.dumps([read_configs(configs), reaching, labels.get("repeat")], sort_keys=True, default=str)
    digest = hashlib.sha256(identity.encode()).hexdigest()[:8]
    words = [_word(name, label) for name, label in labels.items()]
    return Cell("-".join([*words, digest]), labels, command_line(configs, options))


def _own(options: Options) -> dict[str, Any]:
    """Return options, flattened, without `config`."""
    return {name: value for name, value in flatten(options).items() if name != "config"}


def _refuse_two_axes_for_one_option(places: Mapping[str, Point]) -> None:
    setters: dict[str, str] = {}
    for axis, point in places.items():
        for option in _own(point.options):
            other = setters.setdefault(same_option(option), axis)
            if other != axis:
                raise BadInput(f"the axes {other} and {axis} both set {option}: leave it out of one of them")


def _refuse_overruled_axis(axis: str, point: Point, strategy: Point, decided: Options) -> None:
    """Refuse a value that would not reach `fit`, because the strategy's preset sets another one."""
    for option, value in _own(point.options).items() if point.by_value else ():
        setter = setter_of(option, decided)
        if setter is not None and text_of(decided[setter]) != text_of(value):
            raise BadInput(
                f"strategy {strategy.label} sets {setter} to {text_of(decided[setter])}, so grid.{axis} cannot set it "
                f"to {point.label}: exclude {{strategy: {strategy.label}, {axis}: {point.label}}}"
            )


def _word(axis: str, label: str) -> str:
    """Return a label as part of a folder's name; a number or a flag gets the name of its axis before it."""
    plain = re.sub(r"[^A-Za-z0-9_.+]+", "_", label).strip("_.") or "none"
    bare = re.fullmatch(r"[\d.e+]+|true|false|null|none", plain) is not None
    return f"{axis.split('.')[-1]}{plain}" if bare and axis != STRATEGY else plain


def _check_clause(clause: Any, axes: Mapping[str, list[Point]]) -> None:
    if not clause:
        raise BadInput("exclude has an empty clause: name labels on an axis, such as {seed: 2}, or leave it out")
    for axis, wanted in clause.items():
        if axis not in axes:
            raise BadInput(f"exclude names the axis {axis!r}, which grid does not have: {', '.join(axes) or 'none'}")
        labels = _labels(wanted, axes[axis])
        if not labels:
            raise BadInput(f"exclude.{axis} is empty: name labels on the axis, or leave it out")
        known = [point.label for point in axes[axis]]
        unknown = [label for label in labels if label not in known]
        if unknown:
            quotes = "; put on, off, yes and no in quotes as in grid" if {"true", "false"} & {*unknown, *known} else ""
            raise BadInput(
                f"exclude.{axis} names {', '.join(unknown)}, but the axis has {', '.join(sorted(known))}{quotes}"
            )


def _excludes(clause: Mapping[str, Any], labels: Mapping[str, str], axes: Mapping[str, list[Point]]) -> bool:
    return all(labels[axis] in _labels(wanted, axes[axis]) for axis, wanted in clause.items())


def _labels(wanted: Any, points: Sequence[Point]) -> list[str]:
    """Return the labels that a clause names on an axis: one or a list; a list that is itself a value is one label."""
    whole = text_of(wanted)
    if not isinstance(wanted, list) or whole in (point.label for point in points):
        return [whole]
    return [text_of(value) for value in wanted]


def _refuse_doubles(cells: Sequence[Cell]) -> None:
    seen: dict[str, Cell] = {}
    for cell in cells:
        other = seen.setdefault(cell.key.rsplit("-", 1)[-1], cell)
        if other is not cell:
            raise BadInput(f"cells {other.key} and {cell.key} have the same arguments: change or exclude one")
