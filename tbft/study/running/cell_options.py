"""Options of `fit` as a study spells them, and the command line of a cell."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

import yaml

from tbft.options.presets import find

CLASS_ARGUMENTS = ".init_args"  # part of an option's name that may be left out
CLASS_NAME = ".class_path"  # end of an option's name that may be left out

Options = Mapping[str, Any]


def text_of(value: Any) -> str:
    """Return a value as text for the command line of `fit`; a string stays as it is.

    >>> [text_of(value) for value in (True, None, 1e-3, "off", "1e-3", ["off", 1], float("inf"))]
    ['true', 'null', '0.001', 'off', '1e-3', '["off", 1]', '.inf']
    """
    if isinstance(value, float) and not math.isfinite(value):
        return ".nan" if math.isnan(value) else f"{'-' if value < 0 else ''}.inf"
    return value if isinstance(value, str) else json.dumps(value)


def without_spelling(value: Any) -> Any:
    """Return the same value for all values that reach `fit` as the same text, such as `"8"` and 8.

    >>> [without_spelling(value) for value in ("8", 8, "off", "true", "1e-3")]
    [8, 8, 'off', True, '1e-3']
    """
    if isinstance(value, str):
        try:
            read = json.loads(value)
        except ValueError:
            return value
        return read if text_of(read) == value else value
    return value


def flatten(options: Options) -> dict[str, Any]:
    """Spell nested mappings as dotted options, as a command line does; a later option wins.

    >>> flatten({"data.batch_size": 4, "data": {"batch_size": 8, "root": "here"}})
    {'data.batch_size': 8, 'data.root': 'here'}
    """
    flat: dict[str, Any] = {}
    for option, value in options.items():
        flat.update(_leaves(text_of(option), value))
    return flat


def _leaves(option: str, value: Any) -> Iterator[tuple[str, Any]]:
    if not isinstance(value, Mapping) or not value:
        yield option, value
        return
    for name, inner in value.items():
        yield from _leaves(f"{option}.{text_of(name)}", inner)


def same_option(option: str) -> str:
    """Return the same name for all spellings of an option.

    >>> same_option("data.init_args.batch_size"), same_option("model.optimizer.class_path")
    ('data.batch_size', 'model.optimizer')
    """
    return f"{option}.".replace(f"{CLASS_ARGUMENTS}.", ".").removesuffix(".").removesuffix(CLASS_NAME)


def configs_in(options: Options) -> list[str]:
    """Return the presets or files that options name under `config`."""
    configs = options.get("config") or []
    return [text_of(config) for config in (configs if isinstance(configs, list) else [configs])]


def read_configs(configs: Sequence[str]) -> list[Any]:
    """Return the contents of presets or files, parsed.

    Raises:
        BadInput: When one of them is unknown.
    """
    return [_parse(find(config).read_text(encoding="utf-8")) for config in configs]


@cache
def _parse(text: str) -> Any:
    """Parse YAML, once for all cells that share it; callers must not change the result."""
    return yaml.safe_load(text)


def options_of_configs(configs: Sequence[str]) -> dict[str, Any]:
    """Return the options that presets or files set, by their names from `same_option`; a later file wins."""
    options: dict[str, Any] = {}
    for content in read_configs(configs):
        if isinstance(content, Mapping):
            options.update({same_option(name): value for name, value in flatten(content).items()})
    return options


def setter_of(option: str, settings: Options) -> str | None:
    """Return the setting that decides an option: the option itself, or one that contains it and is `null`; else None.

    >>> setter_of("model.learning_rates.fc", {"model.learning_rates": None})
    'model.learning_rates'
    """
    name = same_option(option)
    if name in settings:
        return name
    parts = name.split(".")
    wholes = (".".join(parts[:length]) for length in range(len(parts) - 1, 0, -1))
    return next((whole for whole in wholes if whole in settings and settings[whole] is None), None)


def leave_out(options: Options, settings: Options) -> dict[str, Any]:
    """Return the options without those that some settings decide; the settings are named as by `same_option`."""
    return {name: value for name, value in options.items() if setter_of(name, settings) is None}


def lay_over(options: Options, later: Options) -> dict[str, Any]:
    """Return options with later ones laid over them, for any spelling of both.

    >>> lay_over({"data.init_args.batch_size": 4, "model.base": "digits"}, {"data.batch_size": 8})
    {'model.base': 'digits', 'data.batch_size': 8}
    """
    return leave_out(options, {same_option(name): value for name, value in later.items()}) | dict(later)


def command_line(configs: Sequence[str], options: Options) -> tuple[str, ...]:
    """Return the arguments of `fit`: configurations in order, then options, `data` before `data.root`."""
    arguments = [part for config in configs for part in ("--config", config)]
    for option in sorted(options, key=lambda option: option.count(".")):
        arguments += [f"--{option}", text_of(options[option])]
    return tuple(arguments)
