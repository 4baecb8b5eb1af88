"""Sort a command line's arguments (files, then the data set, then options) and check that none is missing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tbft.errors import BadInput
from tbft.options import catalogue
from tbft.options.presets import find, folder
from tbft.yaml_file import read_yaml_file

_DATA_SET = ("data", "data.class_path", "data.init_args.class_path")


def in_order(arguments: Sequence[str]) -> list[str]:
    """Sort arguments into the order in which they apply, so that their order on the command line does not matter.

    The order is files, data set, other options; a later argument wins over an earlier one. The parser accepts options
    of ``data`` only after the data set is known. If a file gives such options and a later file (or an option) names the
    data set, the name is put first.

    Args:
        arguments: arguments of a command that takes a configuration.

    Raises:
        BadInput: if options of ``data`` are given and no data set is named, a file belongs to a study, or a named file
            does not exist.
    """
    files: list[tuple[list[str], str]] = []
    data_set: list[tuple[list[str], str]] = []
    others: list[tuple[list[str], str]] = []
    for taken, name, value in split_options(arguments):
        kind = files if name == "config" else data_set if name in _DATA_SET else others
        kind.append((taken, value or ""))
    paths = [find(value) for _, value in files if value]
    first = _named_too_late(paths, data_set[-1][1] if data_set else None)
    of_data = [taken[0] for taken, _ in others if taken[0].startswith("--data.") and taken[0] != "--data.help"]
    if of_data and not data_set and not any(map(data_set_of, paths)):
        raise BadInput(
            f"{of_data[0].partition('=')[0]} is of a data set and none is named: give --config auto.yaml or another "
            "preset or file, or --data"
        )
    return [
        *([f"--data={first}"] if first else []),
        *(part for taken, _ in files + data_set + others for part in taken),
    ]


def split_options(arguments: Sequence[str]) -> Iterator[tuple[list[str], str | None, str | None]]:
    """Split a command line into options; every argument that begins with two hyphens is one, as in argparse.

    Args:
        arguments: arguments of a command.

    Yields:
        The arguments of one option, its name without hyphens, and its value or ``None``. An argument that belongs to
        no option is yielded alone, with ``None`` as name and value.
    """
    rest = [*arguments]
    while rest:
        name, equals, value = rest[0].partition("=")
        if name != "-c" and (not name.startswith("--") or len(name) == 2):
            yield [rest.pop(0)], None, None
            continue
        has_value = not equals and len(rest) > 1 and not rest[1].startswith("--") and rest[1] != "-c"
        taken = rest[: 1 + has_value]
        rest = rest[len(taken) :]
        yield taken, "config" if name == "-c" else name[2:], value if equals else taken[1] if has_value else None


def check_required(given: Sequence[tuple[str, str | None]], files: Sequence[Path], data_set: str) -> None:
    """Check that all required options of a data set are given.

    Args:
        given: names and values of the options on the command line.
        files: configuration files.
        data_set: class of the chosen data set; a class that does not ship with tbft is not checked.

    Raises:
        BadInput: if one is missing; the message names it.
    """
    if data_set not in catalogue.data_sets():
        return
    known = {name for name, _ in given}
    whole = any(name == "data" and value and "{" in value for name, value in given)
    for file in files:
        known |= {f"data.{name}" for name in _arguments_of(_data_of(file))}
    for option in catalogue.data_options(data_set):
        if option.default is None and option.name not in known and not whole:
            what = f" ({option.text.rstrip('.')})" if option.text else ""
            raise BadInput(f"data set {data_set} needs --{option.name}{what}: give it")


def _named_too_late(files: Sequence[Path], chosen: str | None) -> str | None:
    """Return the data set's class if a file gives options of ``data`` before any file names the class.

    Args:
        files: configuration files in their order.
        chosen: class that the command line names, if any.

    Raises:
        BadInput: if such options are given and neither a file nor the command line names a class.
    """
    nameless: Path | None = None
    in_file: str | None = None
    for file in files:
        data = _data_of(file)
        in_file = _named_in(data) or in_file
        if data and in_file is None:
            nameless = nameless or file
    if nameless is None:
        return None
    if in_file is None and chosen is None:
        over, name = _shown(nameless), "base/digits.yaml" if _shown(nameless).startswith("base/") else "feature.yaml"
        raise BadInput(
            f"{over} gives options of data and no data set is named: lay it over a preset that names one, such as "
            f"--config {name} --config {over}, or give --data"
        )
    return chosen or in_file


def _data_of(file: Path) -> Any:
    """Return a file's section ``data``; ``None`` if it has none or cannot be read.

    Raises:
        BadInput: if the file belongs to a study.
    """
    content = read_yaml_file(file)
    if not isinstance(content, Mapping):
        return None
    if "grid" in content:
        name = _shown(file)
        raise BadInput(f"{name} is a study and no configuration of one run: python -m tbft study --config {name}")
    return content.get("data")


def _shown(file: Path) -> str:
    """Return a file's short name for messages: a preset's name, or a path, relative inside the working folder."""
    near = next((place for place in (folder().resolve(), Path.cwd()) if file.is_relative_to(place)), None)
    return str(file if near is None else file.relative_to(near))


def data_set_of(file: Path) -> str | None:
    """Return the class of the data set that a file names; ``None`` if it names none, or cannot be read.

    Raises:
        BadInput: if the file belongs to a study.
    """
    return _named_in(_data_of(file))


def _named_in(data: Any) -> str | None:
    """Return the class that a section ``data`` names; ``None`` if it names none."""
    named = data.get("class_path") if isinstance(data, Mapping) else data
    return str(named) if named else None


def _arguments_of(data: Any) -> Mapping[str, Any]:
    """Return the options in a section ``data``."""
    if not isinstance(data, Mapping):
        return {}
    arguments = data.get("init_args")
    return {**data, **(arguments if isinstance(arguments, Mapping) else {})}
