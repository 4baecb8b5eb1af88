"""Check a user's YAML file before it is loaded: UTF-8 text, each key once, not too large with its aliases expanded."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tbft.errors import BadInput

MOST_BYTES = 2**20
MOST_VALUES = 100_000
"""Most values of a file with its aliases expanded: nine lines of nine aliases each can stand for a billion values."""
MOST_LEVELS = 50
"""Deepest nesting of a file, which PyYAML can construct without exceeding Python's stack."""

_ENDLESS = re.compile("[-+]?[0-9_]{4000,}")  # Python refuses to convert more than 4300 digits to a number


def check_yaml_file(path: Path) -> bool:
    """Check a file by its YAML events, which neither expand aliases nor make objects.

    Returns:
        Whether the file holds a mapping, and not a list, a value or nothing.

    Raises:
        BadInput: if the file cannot be read, is larger than 1 MiB, is no UTF-8 text or no YAML, gives a key twice, is
            nested too deep, or has more than ``MOST_VALUES`` values; the message names the line if there is one.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise BadInput(f"{path} cannot be read ({error.strerror}): check the path and its permissions") from None
    if len(content) > MOST_BYTES:
        raise BadInput(f"{path} is larger than 1 MiB, which no configuration is: give another file")
    try:
        text = content.decode("utf-8-sig")
        size = _Size(path)
        for event in yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
            size.count(event)
        return size.mapping
    except UnicodeDecodeError:
        raise BadInput(f"{path} is not text in UTF-8: give a YAML file") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" in line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or "it holds characters that YAML does not allow"
        raise BadInput(f"{path} cannot be read as YAML ({problem}{where}): correct it") from None


def read_yaml_file(path: Path) -> Any:
    """Return the content of a YAML file; ``None`` if ``check_yaml_file`` refuses it, which the parser then reports."""
    try:
        check_yaml_file(path)
        return yaml.load(path.read_text(encoding="utf-8-sig"), getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (BadInput, OSError, ValueError, yaml.YAMLError):
        return None


class _Size:
    """Counter of a file's values with aliases expanded, which also finds repeated keys.

    Args:
        path: file, for messages.

    Attributes:
        open: mappings and lists that have begun and not ended; the first stands for the document.
        of_anchor: number of values by anchor name.
        mapping: whether the document is a mapping.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.open: list[_Collection] = [_Collection(None)]
        self.of_anchor: dict[str, int] = {}
        self.mapping = False

    def count(self, event: Any) -> None:
        """Count the next event.

        Raises:
            BadInput: if the file becomes too large or too deep, repeats a key, or has an alias or number that cannot be
                used.
        """
        if isinstance(event, yaml.CollectionStartEvent):
            if len(self.open) > MOST_LEVELS:
                self._refuse(event, f"is nested deeper than {MOST_LEVELS} levels")
            keys: set[str] | None = set() if isinstance(event, yaml.MappingStartEvent) else None
            self.mapping = self.mapping or (keys is not None and len(self.open) == 1)
            self.open.append(_Collection(event.anchor, keys))
        elif isinstance(event, yaml.CollectionEndEvent):
            done = self.open.pop()
            self._add(event, done.values, done.anchor)
        elif isinstance(event, yaml.AliasEvent):
            if any(collection.anchor == event.anchor for collection in self.open):
                self._refuse(event, f"has an alias *{event.anchor} that contains itself")
            if event.anchor not in self.of_anchor:
                self._refuse(event, f"has an alias *{event.anchor} that stands for nothing")
            self._add(event, self.of_anchor[event.anchor])
        elif isinstance(event, yaml.ScalarEvent):
            if _ENDLESS.fullmatch(event.value):
                self._refuse(event, "has a number of thousands of digits")
            self._add(event, 1, event.anchor)

    def _add(self, event: Any, values: int, anchor: str | None = None) -> None:
        inside = self.open[-1]
        if inside.keys is not None and inside.at_key and isinstance(event, yaml.ScalarEvent):
            if event.value in inside.keys:
                self._refuse(event, f"gives {event.value} a second time")
            inside.keys.add(event.value)
        inside.at_key = not inside.at_key
        inside.values += values
        if inside.values > MOST_VALUES:
            self._refuse(event, f"stands for more than {MOST_VALUES} values")
        if anchor is not None:
            self.of_anchor[anchor] = values

    def _refuse(self, event: Any, what: str) -> None:
        raise BadInput(f"{self.path} {what} in line {event.start_mark.line + 1}: correct it")


@dataclass
class _Collection:
    """A mapping or a list that has begun and not ended.

    Attributes:
        anchor: name for aliases; ``None`` if it has none.
        keys: keys of a mapping so far; ``None`` for a list.
        values: number of values so far, nested ones included.
        at_key: whether the next value of a mapping is a key.
    """

    anchor: str | None
    keys: set[str] | None = None
    values: int = 1
    at_key: bool = True
