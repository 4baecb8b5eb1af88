"""Match the class names of the data with those of the base model, so that labels mean the same to both."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from tbft.errors import BadInput


def match_classes(
    data_classes: Sequence[str], base_classes: Sequence[str], *, may_lack: bool = False
) -> tuple[int, ...]:
    """Find the base model's label of each class of the data.

    Names are compared without regard to case, spaces, hyphens and underscores.

    Args:
        data_classes: class names in the data's own order.
        base_classes: class names in the order of the base model's outputs.
        may_lack: whether the data may lack some of the base model's classes.

    Returns:
        The position in ``base_classes`` of each class of the data.

    Raises:
        BadInput: if the data has an unknown class, or lacks one although ``may_lack`` is false; the message lists
            unknown and missing names and suggests what to do. Also if two classes have the same name.
    """
    check_distinct(data_classes, "the data")
    check_distinct(base_classes, "the base model")
    position = {_plain(name): i for i, name in enumerate(base_classes)}
    extra = [name for name in data_classes if _plain(name) not in position]
    there = {_plain(name) for name in data_classes}
    unmatched = [name for name in base_classes if _plain(name) not in there]
    missing = [] if may_lack else unmatched
    if extra or missing:
        raise BadInput(
            f"classes do not match ({len(base_classes)} classes of the base model, {len(data_classes)} of the data): "
            + _explain(extra, missing, unmatched)
        )
    return tuple(position[_plain(name)] for name in data_classes)


def check_distinct(classes: Sequence[str], where: str) -> None:
    """Check that no two classes have the same name, compared as in ``match_classes``.

    Args:
        classes: class names.
        where: owner of the classes, such as ``the data``, for the message.

    Raises:
        BadInput: if two names are the same; the message has both.
    """
    known: dict[str, str] = {}
    for name in classes:
        if (plain := _plain(name)) in known:
            raise BadInput(
                f"{where} has the classes {known[plain]!r} and {name!r}, which differ in case, spaces, hyphens and "
                "underscores alone: rename one of them, or put their pictures together"
            )
        known[plain] = name


def check_order(names: Sequence[str], way_out: str) -> None:
    """Check that alphabetical order, which is assumed if no order is given, is also the order of numbers.

    Args:
        names: class names, in alphabetical order.
        way_out: advice on how to give the order, for the message.

    Raises:
        BadInput: if all names are numbers and their order differs, such as "10" before "2".
    """
    if all(name.isdecimal() for name in names) and sorted(names, key=int) != [*names]:
        before = next(b for a, b in zip(sorted(names, key=int), names, strict=True) if a != b)
        raise BadInput(
            f"the base model does not name its classes, and these are numbers that the alphabet puts in another order "
            f"({before!r} early): {way_out}"
        )


def _plain(name: str) -> str:
    return "".join(c for c in name.casefold() if c not in " -_")


def _explain(extra: list[str], missing: list[str], unmatched: list[str]) -> str:
    said = []
    if extra:
        said.append(f"the base model does not know {_listed(extra)}")
    if missing:
        said.append(f"{_listed(missing)} of the base model's classes {'is' if len(missing) == 1 else 'are'} missing")
    pairs = []
    for name in extra:
        close = difflib.get_close_matches(name.casefold(), [m.casefold() for m in unmatched], 1)
        pairs += [f"{name} to {m}" for m in unmatched if close and m.casefold() == close[0]]
    if pairs:
        remedy = f"rename {', '.join(pairs)}"
    elif extra and missing:
        remedy = "name the class folders as the base model does, or choose the base model that belongs to them"
    elif missing:
        remedy = "add images of each"
    else:
        remedy = "remove these images, or choose a base model with these classes"
    return f"{', and '.join(said)}; {remedy}"


def _listed(names: list[str]) -> str:
    return ", ".join(repr(name) for name in names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
