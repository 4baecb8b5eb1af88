"""Options that have no effect beside another one: refused where the user chose them, from the shell and from Python."""

from __future__ import annotations

import ast
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from tbft.errors import BadInput
from tbft.options import catalogue, presets
from tbft.yaml_file import read_yaml_file

_SAYING = ("default", "user", "anyone")


@dataclass(frozen=True)
class Layer:
    """Options that are given together; those of a later layer win.

    Attributes:
        values: option by its dotted name, such as ``data.severity``.
        chosen: those that the user chose; what a preset says is a default, whatever lies over it.
    """

    values: Mapping[str, Any]
    chosen: frozenset[str]


@dataclass(frozen=True)
class _Rule:
    """An option that has no effect beside some values of another one.

    Attributes:
        option: the one without effect.
        beside: the one that takes it away.
        ignores: whether it does, from the values of both.
        said_by: who says ``beside`` where this is refused: nobody (``default``), nobody or the user (``user``), or a
            preset too (``anyone``). The cells of a study share options that some of their presets have no use for.
        unless: an option, and for which of its values ``beside`` says nothing.
    """

    option: str
    beside: str
    ignores: Callable[[Any, Any], bool]
    said_by: Literal["default", "user", "anyone"] = "user"
    unless: tuple[str, Callable[[Any], bool]] | None = None


def _beside(value: object) -> Callable[[Any, Any], bool]:
    return lambda _, other: other == value


def _rates_of_others(rates: Any, blocks: Any) -> bool:
    """Whether a block has a learning rate and does not train."""
    return (
        isinstance(rates, Mapping) and isinstance(blocks, list) and "all" not in blocks and bool({*rates} - {*blocks})
    )


def _not_the_head(given: Any, blocks: Any) -> bool:
    """Whether blocks are named that are not the head alone, so that a head that is to be solved is not."""
    return given is not False and blocks is not None and not _is_head(blocks)


def _is_head(blocks: Any) -> bool:
    return blocks == ["fc"]


def _without_front(_: Any, blocks: Any) -> bool:
    """Whether blocks are named, and not the front block among them."""
    return blocks is not None and not _with_front(blocks)


def _with_front(blocks: Any) -> bool:
    return isinstance(blocks, list) and bool({"block1", "all"} & {*blocks})


def _other_than_batch(statistics: Any) -> bool:
    """Whether statistics are not those of batches, which are re-estimated first only from a number of images."""
    return statistics != "batch"


_CLIMBS = ("ladder.climb", bool)  # which refuses whatever says how to adapt

_RULES = (
    _Rule("freeze.statistics_images", "freeze.statistics", _beside("source"), unless=_CLIMBS),
    _Rule("freeze.align", "freeze.statistics", _beside("source"), "anyone", unless=_CLIMBS),
    _Rule(
        "freeze.align",
        "freeze.statistics_images",
        _beside(None),
        "anyone",
        unless=("freeze.statistics", _other_than_batch),
    ),
    _Rule("freeze.align", "data.domain", _beside("source"), "anyone"),
    _Rule("freeze.align", "freeze.blocks", _without_front),
    *(
        _Rule("freeze.align", "freeze.level", _beside(level), "anyone", unless=("freeze.blocks", _with_front))
        for level in ("feature", "output")
    ),
    *(
        _Rule(f"cache.{name}", "cache.enabled", _beside(False))
        for name in ("memory_limit", "disk_limit", "folder", "half", "batch_size")
    ),
    _Rule("head.images", "head.solve", _beside(False), unless=_CLIMBS),
    _Rule("head.images", "freeze.blocks", _not_the_head),
    _Rule("head.solve", "freeze.blocks", _not_the_head, "anyone"),
    *(
        _Rule("head.solve", "freeze.level", _beside(level), "anyone", unless=("freeze.blocks", _is_head))
        for level in ("input", "feature")
    ),
    *(
        _Rule(f"model.{name}", "head.solve", _beside(True), "anyone")
        for name in ("optimizer", "learning_rates", "schedule")
    ),
    _Rule("model.learning_rates", "freeze.blocks", _rates_of_others),
    _Rule("model.noise_block", "model.noise_scale", _beside(0), "default"),
    *(
        _Rule(f"data.{name}", "data.domain", _beside("source"), "anyone")
        for name in ("corruption", "severity", "label_map")
    ),
    _Rule("data.url", "data.download", _beside(False)),
)


def check_all_have_effect(layers: Sequence[Layer]) -> None:
    """Refuse an option that the user chose and that has no effect beside another one.

    An option of an earlier layer is a default beneath the later one and is not refused; nor is one at its default.

    Args:
        layers: what is given, the first first.

    Raises:
        BadInput: naming both options.
    """
    for rule in _RULES:
        at, value = _last(rule.option, layers)
        if at is None or rule.option not in layers[at].chosen or value is None or value == _default(rule.option):
            continue
        decided, other = _last(rule.beside, layers)
        said_by = "anyone"
        if decided is None:
            said_by, other = "default", _default(rule.beside)
        elif rule.beside in layers[decided].chosen:
            said_by = "user"
        if (decided is not None and decided > at) or _SAYING.index(said_by) > _SAYING.index(rule.said_by):
            continue
        overruled = rule.unless is not None and rule.unless[1](_last(rule.unless[0], layers)[1])
        if rule.ignores(value, other) and not overruled:
            raise BadInput(
                f"{rule.option} is {_written(value)} and has no effect beside {rule.beside} {_written(other)}: leave "
                f"{rule.option} out, or change {rule.beside}"
            )


_LENGTHS = tuple(
    f"trainer.{name}"
    for name in ("max_epochs", "min_epochs", "max_steps", "min_steps", "max_time", "limit_train_batches")
)
_ALIGN = "freeze.align"


def keeps_epochs(layers: Sequence[Layer]) -> bool:
    """Whether somebody chose how long to train, of which a preset's alignment would take an epoch away.

    Args:
        layers: what is given, the first first.
    """
    at, value = _last(_ALIGN, layers)
    if at is None or value != "for_an_epoch" or _ALIGN in layers[at].chosen:
        return False
    said_last = ((name, _last(name, layers)[0]) for name in _LENGTHS)
    return any(at is not None and name in layers[at].chosen for name, at in said_last)


def layers_of(given: Iterable[tuple[str, str | None]], files: Iterable[Path]) -> list[Layer]:
    """The layers of a command line: its files in their order, then its options.

    Args:
        given: names and values of the options, as they were written.
        files: YAML files; one that cannot be read gives nothing.
    """
    own: dict[str, Any] = {}
    for name, text in given:
        if name.partition(".")[0] in catalogue.SECTIONS and text is not None:
            own |= _flat({name: _read(text)}, own)
    return [*map(layer_of_file, files), layer_of(own)]


def layer_of_file(file: Path) -> Layer:
    """What a file says. A preset's options are defaults, and so are those of a file that gives a whole section.

    Such a file is a run's ``config.yaml``, or was printed by ``--print_config``: nobody chose each of its values.
    """
    content = read_yaml_file(file)
    if not isinstance(content, Mapping):
        return Layer({}, frozenset())
    values = _flat({name: value for name, value in content.items() if name in catalogue.SECTIONS})
    if file.is_relative_to(presets.folder().resolve()):
        return Layer(values, frozenset())
    whole = {
        section
        for section in catalogue.SECTIONS
        if {option.name for option in catalogue.section_options(section)} <= {*values}
    }
    return Layer(values, frozenset(name for name in values if name.partition(".")[0] not in whole))


def layer_of(given: Mapping[str, Any]) -> Layer:
    """Options that the user chose, by dotted name."""
    values = {name: list(value) if isinstance(value, tuple) else value for name, value in given.items()}
    return Layer(values, frozenset(values))


def _flat(content: Mapping[str, Any], earlier: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Options by section and name: what lies deeper is a mapping, and laid over an earlier one."""
    found: dict[str, Any] = dict(earlier or {})
    for name, value in content.items():
        section, _, rest = str(name).partition(".")
        option, _, inner = rest.partition(".")
        if not option:
            values = value if isinstance(value, Mapping) else {}
            arguments = values.get("init_args") if section == "data" else None
            own = {name: value for name, value in values.items() if section != "data" or name != "init_args"}
            own |= arguments if isinstance(arguments, Mapping) else {}
            found |= {f"{section}.{name}": value for name, value in own.items()}
        elif inner:
            old = found.get(f"{section}.{option}")
            found[f"{section}.{option}"] = {**(old if isinstance(old, Mapping) else {}), inner: value}
        else:
            found[f"{section}.{option}"] = value
    return found


def _last(option: str, layers: Sequence[Layer]) -> tuple[int | None, Any]:
    """The last layer that gives an option, and its value there."""
    found = [(at, layer.values[option]) for at, layer in enumerate(layers) if option in layer.values]
    return found[-1] if found else (None, None)


def _default(name: str) -> Any:
    """What an option is where nobody gives it; ``None`` where that is made by code."""
    section = name.partition(".")[0]
    known = catalogue.section_options(section)
    if section == "data":
        known += tuple(option for data_set in catalogue.data_sets() for option in catalogue.data_options(data_set))
    text = next((option.default for option in known if option.name == name), None)
    return None if text is None else _literal(text)


def _literal(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):  # a word, whose quotes the option has lost, or code
        return text


def _read(text: str) -> Any:
    """A value as it is written on a command line."""
    try:
        return yaml.safe_load(text)
    except (ValueError, yaml.YAMLError):
        return text


def _written(value: Any) -> str:
    """A value as a configuration file says it, or its beginning."""
    text = yaml.safe_dump(value, default_flow_style=True, width=1000) if _is_plain(value) else type(value).__name__
    return textwrap.shorten(text.removesuffix("...\n"), 60, placeholder=" ...")


def _is_plain(value: Any) -> bool:
    """Whether a value can stand in a file: an optimiser from Python cannot."""
    if isinstance(value, Mapping):
        return all(map(_is_plain, [*value, *value.values()])) and type(value) is dict
    if isinstance(value, list):
        return all(map(_is_plain, value))
    return value is None or type(value) in (bool, int, float, str)
