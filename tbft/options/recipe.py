"""Options of an adaptation from Python: presets and options of the command line under the same names."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from tbft.errors import BadInput
from tbft.options import catalogue
from tbft.options.effects import check_all_have_effect, keeps_epochs, layer_of, layer_of_file
from tbft.options.option_types import can_be
from tbft.options.presets import find
from tbft.schema import LEVELS
from tbft.spelling import closest, or_choose
from tbft.yaml_file import check_yaml_file

if TYPE_CHECKING:
    from tbft.adaptation.optimization import Optimization

SECTIONS = ("model", "data", "freeze", "head", "cache", "ladder", "energy", "trainer")
_OF_MODEL = ("optimizer", "learning_rates", "schedule", "number_format")
_OF_DATA = ("batch_size", "augment", "on_device")

_ONE_PROCESS = {"devices": (None, 1, "1"), "num_nodes": (None, 1), "strategy": (None, "auto")}
"""Allowed values of trainer options that could make Lightning run the caller's program again in further processes."""

AUTO = "auto"
"""Name of the preset that names no drift level."""

Options = dict[str, dict[str, Any]]
"""Values by section and option name, as in a configuration file."""


def recipe_of(level: str | None, config: str | Path | Iterable[str | Path], given: Mapping[str, Any]) -> Options:
    """Merge the options of an adaptation: the level's preset, ``data/folder.yaml``, further files, then options.

    Args:
        level: drift level whose preset comes first, or ``auto``; ``None`` starts without a preset.
        config: further presets or files, such as ``strategy/full.yaml``; later ones win.
        given: options by dotted name (``{"trainer.max_epochs": 4}``) or by section (``{"trainer": {...}}``); they win
            over files.

    Returns:
        Options by section. ``check_values`` checks their values.

    Raises:
        BadInput: if there is no such level, preset or option, or an option has no meaning for images from Python, or
            no effect beside another one.
    """
    if level is not None and level not in (*LEVELS, AUTO):
        meant = closest(str(level), LEVELS)
        raise BadInput(
            f"unknown drift level {level!r}: " + (f"did you mean {meant}?" if meant else f"choose {', '.join(LEVELS)}")
        )
    files = [f"{level}.yaml", "data/folder.yaml"] if level else []
    files += [str(config)] if isinstance(config, str | Path) else [str(name) for name in config or ()]
    recipe: Options = {section: {} for section in SECTIONS}
    found = [find(name) for name in files]
    for file in found:
        for section, values in _content_of(file).items():
            recipe[section] |= values
    recipe["model"] = {name: value for name, value in recipe["model"].items() if name in _OF_MODEL}
    recipe["data"] = {name: value for name, value in recipe["data"].items() if name in _OF_DATA}
    chosen: dict[str, Any] = {}
    for section, values in _by_section(given).items():
        for name, value in values.items():
            _check(section, name)
            recipe[section][name] = chosen[f"{section}.{name}"] = value
    layers = [*map(layer_of_file, found), layer_of(chosen)]
    check_all_have_effect(layers)
    if keeps_epochs(layers):
        recipe["freeze"]["align"] = "with_card"
    return recipe


def check_values(recipe: Options) -> None:
    """Check that every value is one that its option can take, as the command line's parser does.

    Raises:
        BadInput: if a value is not; the message names the first such option.
    """
    for section, values in recipe.items():
        options = {option.name: option for option in catalogue.section_options(section)}
        for name, value in values.items():
            option = options.get(f"{section}.{name}")
            if option and option.annotation and not can_be(value, option.annotation):
                choices = f"choose {', '.join(option.choices)}" if option.choices else ""
                wanted = choices or f"it must be of the type {ast.unparse(option.annotation)}"
                raise BadInput(f"{option.name} is {value!r}: {wanted}")
    for name, one in _ONE_PROCESS.items():
        if recipe["trainer"].get(name) not in one:
            raise BadInput(
                f"trainer.{name} is {recipe['trainer'][name]!r} and an adaptation from Python stays in its one "
                "process: leave it out, or use the command line"
            )


def _content_of(file: Path) -> Options:
    """Read the sections of a configuration file that apply to an adaptation from Python.

    Raises:
        BadInput: if the file is no configuration, or has an unknown section or option.
    """
    content = yaml.load(file.read_text(encoding="utf-8"), _Loader) if check_yaml_file(file) else None
    if not isinstance(content, dict):
        raise BadInput(f"{file} holds no sections of options: give a configuration")
    found: Options = {}
    for section, values in content.items():
        if section not in (*catalogue.SECTIONS, *catalogue.GENERAL, "ckpt_path"):
            raise BadInput(f"{file} has a section {section!r}: {or_choose(str(section), [*catalogue.SECTIONS])}")
        if section == "data":  # a data set's class_path and init_args
            found[section] = (values.get("init_args") or {}) if isinstance(values, dict) else {}
        elif section in SECTIONS:
            if not isinstance(values, dict):
                raise BadInput(f"{file} says {section}: {values!r}: give options and their values")
            for name in values if section != "model" else ():
                _check(section, name)
            found[section] = values
    return found


class _Loader(yaml.SafeLoader):
    """A YAML loader that reads ``1e-3`` as a number, as the command line's parser does; in YAML 1.1 it is text."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?\d[\d_]*(?:\.[\d_]*)?[eE][-+]?\d+$"), [*"-+0123456789"]
)


def optimizer_of(given: Any) -> Callable[[Iterable], Any] | None:
    """Return an optimiser in the form that training takes: a function from parameters to an optimiser.

    Args:
        given: such a function; or a mapping with ``class_path`` and ``init_args``, as in a configuration file; or
            ``None``, which returns ``None``.

    Raises:
        BadInput: if there is no such class.
    """
    if given is None or callable(given):
        return given
    kind = _class_of(given, "torch.optim", "optimiser", "torch.optim.AdamW")
    from torch.optim import Optimizer

    from tbft.adaptation.optimization import without_compiler

    if isinstance(kind, type) and issubclass(kind, Optimizer):
        kind = without_compiler(kind)  # type: ignore[arg-type]
    arguments = dict(given.get("init_args") or {})
    return lambda parameters: kind(parameters, **arguments)


def optimization_of(model: Mapping[str, Any]) -> Optimization:
    """Make the training settings from the options of the section ``model``.

    Args:
        model: options of that section; all but the optimiser, learning rates and schedule are ignored.

    Raises:
        BadInput: if there is no such optimiser or schedule, or a learning rate is not above 0.
    """
    from tbft.adaptation.optimization import Optimization

    given: dict[str, Any] = {name: model[name] for name in ("learning_rates", "schedule") if name in model}
    if optimizer := optimizer_of(model.get("optimizer")):
        given["make_optimizer"] = optimizer
    return Optimization(**given)


def callbacks_of(given: Any) -> list[Any]:
    """Return the trainer's callbacks as objects, making those that are given as in a configuration file.

    Args:
        given: one callback or a list of them, each an object or a mapping with ``class_path`` and ``init_args``; or
            ``None`` for no callback.

    Raises:
        BadInput: if there is no such class.
    """
    several = given if isinstance(given, list | tuple) else [] if given is None else [given]
    package, example = "lightning.pytorch.callbacks", "lightning.pytorch.callbacks.EarlyStopping"
    return [
        _class_of(one, package, "callback", example)(**dict(one.get("init_args") or {}))
        if isinstance(one, Mapping)
        else one
        for one in several
    ]


def _class_of(given: Mapping[str, Any], package: str, what: str, example: str) -> Any:
    """Import the class that ``class_path`` names; ``package`` is used if it names no module.

    Args:
        given: mapping with ``class_path``.
        package: module of classes that are named without one.
        what: kind of class, for the message.
        example: a valid ``class_path``, for the message.
    """
    if not isinstance(given, Mapping) or not given.get("class_path"):
        raise BadInput(f"the {what} is given as {given!r}: give {{'class_path': '{example}', 'init_args': {{...}}}}")
    path = str(given["class_path"])
    module, _, name = path.rpartition(".")
    try:
        return getattr(import_module(module or package), name)
    except (ImportError, AttributeError):
        raise BadInput(f"there is no {what} {path}: give a class such as {example}") from None


def _by_section(given: Mapping[str, Any]) -> Options:
    """Sort the caller's options by section."""
    found: Options = {}
    for name, value in given.items():
        section, _, option = name.partition(".")
        if section not in SECTIONS:
            everything = [f"{section}.{name}" for section in SECTIONS for name in _names(section)]
            meant = closest(name, [*SECTIONS, *everything])
            raise BadInput(f"personalize does not know {name!r}" + (f": did you mean {meant}?" if meant else ""))
        if not option and not isinstance(value, Mapping):
            raise BadInput(f"{section}={value!r}: give options and their values, such as {section}={{...}}")
        values = found.setdefault(section, {})
        for key, one in ({option: value} if option else value).items():
            if key in values:
                raise BadInput(f"{section}.{key} is given twice, as {values[key]!r} and {one!r}: leave one of them out")
            values[key] = one
    return found


def _check(section: str, option: str) -> None:
    """Raise ``BadInput`` if an adaptation from Python takes no such option."""
    if option in _names(section):
        return
    of_command_line = [*catalogue.section_options(section)]
    if section == "data":
        of_command_line += [found for data_set in catalogue.data_sets() for found in catalogue.data_options(data_set)]
    if option in [found.name.partition(".")[2] for found in of_command_line]:
        raise BadInput(f"{section}.{option} is of the command line: images and the model are given here themselves")
    meant = closest(option, _names(section))
    raise BadInput(
        f"personalize does not know {section}.{option}: "
        + (f"did you mean {section}.{meant}?" if meant else f"choose {', '.join(_names(section))}")
    )


def _names(section: str) -> tuple[str, ...]:
    """Return the names of a section's options that an adaptation from Python takes."""
    if section == "model":
        return _OF_MODEL
    if section == "data":
        return _OF_DATA
    return tuple(option.name.partition(".")[2] for option in catalogue.section_options(section))
