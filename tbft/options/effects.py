"""Refuse options that the user chose and that have no effect beside another one, from the shell and from Python."""

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
    """Options that are given together, such as those of one file; a later layer wins over an earlier one.

    Attributes:
        values: value by dotted option name, such as ``data.severity``.
        chosen: names of the options that the user chose; those of a preset are defaults, which nobody chose.
    """

    values: Mapping[str, Any]
    chosen: frozenset[str]


@dataclass(frozen=True)
class _Rule:
    """A rule: an option has no effect beside some values of another one.

    Attributes:
        option: name of the option without effect.
        beside: name of the option that takes its effect away.
        ignores: function of both values, in this order, that tells whether it does so.
        said_by: who must have given ``beside`` for the option to be refused: nobody (``default``), nobody or the user
            (``user``), or anybody, presets included (``anyone``). The last is not for options that the cells of a
            study share although some of their presets have no use for them.
        unless: name of a third option, and a function of its value that tells whether this rule does not apply.
    """

    option: str
    beside: str
    ignores: Callable[[Any, Any], bool]
    said_by: Literal["default", "user", "anyone"] = "user"
    unless: tuple[str, Callable[[Any], bool]] | None = None


def _beside(value: object) -> Callable[[Any, Any], bool]:
    return lambda _, other: other == value


def _rates_of_others(rates: Any, blocks: Any) -> bool:
    """Return whether a block that does not train has a learning rate."""
    return (
        isinstance(rates, Mapping) and isinstance(blocks, list) and "all" not in blocks and bool({*rates} - {*blocks})
    )


def _not_the_head(given: Any, blocks: Any) -> bool:
    """Return whether blocks other than the head alone are named, so that no head can be solved."""
    return given is not False and blocks is not None and not _is_head(blocks)


def _is_head(blocks: Any) -> bool:
    return blocks == ["fc"]


def _without_front(_: Any, blocks: Any) -> bool:
    """Return whether blocks are named and the front block is not one of them."""
    return blocks is not None and not _with_front(blocks)


def _with_front(blocks: Any) -> bool:
    return isinstance(blocks, list) and bool({"block1", "all"} & {*blocks})


def _other_than_batch(statistics: Any) -> bool:
    """Return whether the policy is not ``batch``, which re-estimates statistics only with ``statistics_images``."""
    return statistics != "batch"


_CLIMBS = ("ladder.climb", bool)  # the ladder itself refuses options that say how to adapt

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

    An option is not refused if it has its default value, or if the other one comes from a later layer.

    Args:
        layers: layers of options, the first one first.

    Raises:
        BadInput: if there is such an option; the message names both.
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
    """Return whether the user chose the length of training and a preset's alignment would replace one of its epochs.

    Args:
        layers: layers of options, the first one first.
    """
    at, value = _last(_ALIGN, layers)
    if at is None or value != "for_an_epoch" or _ALIGN in layers[at].chosen:
        return False
    said_last = ((name, _last(name, layers)[0]) for name in _LENGTHS)
    return any(at is not None and name in layers[at].chosen for name, at in said_last)


def layers_of(given: Iterable[tuple[str, str | None]], files: Iterable[Path]) -> list[Layer]:
    """Make the layers of a command line: its files in their order, then its options.

    Args:
        given: names and values of the options, as text.
        files: YAML files; a file that cannot be read gives an empty layer.
    """
    own: dict[str, Any] = {}
    for name, text in given:
        if name.partition(".")[0] in catalogue.SECTIONS and text is not None:
            own |= _flat({name: _read(text)}, own)
    return [*map(layer_of_file, files), layer_of(own)]


def layer_of_file(file: Path) -> Layer:
    """Make the layer of a file; the options of a preset count as defaults, and so do those of a complete section.

    A file with a complete section is a run's ``config.yaml`` or the output of ``--print_config``, in which the user
    did not choose each value.
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
    """Make a layer of options that the user chose, by dotted name."""
    values = {name: list(value) if isinstance(value, tuple) else value for name, value in given.items()}
    return Layer(values, frozenset(values))


def _flat(content: Mapping[str, Any], earlier: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Flatten options to dotted names of section and option; values of deeper names are merged into a mapping.

    Args:
        content: sections with their options, or options by dotted name.
        earlier: flat options that these are laid over.
    """
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
    """Return the position of the last layer that gives an option, and its value there; ``None`` twice if none does."""
    found = [(at, layer.values[option]) for at, layer in enumerate(layers) if option in layer.values]
    return found[-1] if found else (None, None)


def _default(name: str) -> Any:
    """Return an option's default, as text if it is code; ``None`` if it has none."""
    section = name.partition(".")[0]
    known = catalogue.section_options(section)
    if section == "data":
        known += tuple(option for data_set in catalogue.data_sets() for option in catalogue.data_options(data_set))
    text = next((option.default for option in known if option.name == name), None)
    return None if text is None else _literal(text)


def _literal(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):  # a word without its quotes, or code
        return text


def _read(text: str) -> Any:
    """Parse a value that is written on a command line; text that is no YAML is returned unchanged."""
    try:
        return yaml.safe_load(text)
    except (ValueError, yaml.YAMLError):
        return text


def _written(value: Any) -> str:
    """Return a value as a configuration file writes it, shortened to 60 characters."""
    text = yaml.safe_dump(value, default_flow_style=True, width=1000) if _is_plain(value) else type(value).__name__
    return textwrap.shorten(text.removesuffix("...\n"), 60, placeholder=" ...")


def _is_plain(value: Any) -> bool:
    """Return whether a value can be written to a configuration file; an optimiser from Python cannot."""
    if isinstance(value, Mapping):
        return all(map(_is_plain, [*value, *value.values()])) and type(value) is dict
    if isinstance(value, list):
        return all(map(_is_plain, value))
    return value is None or type(value) in (bool, int, float, str)
