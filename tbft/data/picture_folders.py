"""List the picture files in a folder, the class folders of a data set, and the parts that it is split into."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from tbft.data.picture_file import SUFFIXES
from tbft.errors import BadInput
from tbft.paths import on_one_line

log = logging.getLogger(__name__)

VALIDATION = ("validation", "val", "valid")
"""Names of the folder of what validates."""

_DOMAINS = ("source", "target")
_PARTS = ("train", "test", *VALIDATION)
_UNREAD = (".avif", ".heic", ".heif", ".jp2", ".jxl", ".tga", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".raw")
"""Pictures that a camera writes and nothing here reads."""


def pictures_in(folder: Path) -> list[Path]:
    """List the picture files in a folder and in folders inside it, linked ones too, sorted and without hidden ones.

    Raises:
        BadInput: if there is none, or the folder cannot be listed.
    """
    found: list[Path] = []
    unread: list[str] = []
    entered: set[str] = set()
    try:
        for where, folders, files in os.walk(folder, onerror=_raise, followlinks=True):
            # A link to a folder around it has no end, and what two links lead to is there once.
            real = os.path.realpath(where)
            folders[:] = [] if real in entered else sorted(name for name in folders if not name.startswith("."))
            shown = [] if real in entered else sorted(name for name in files if not name.startswith("."))
            entered.add(real)
            found += [Path(where, name) for name in shown if name.lower().endswith(SUFFIXES)]
            unread += [name for name in shown if name.lower().endswith(_UNREAD)]
    except OSError as error:
        where = on_one_line(error.filename or folder)
        raise BadInput(f"{where} cannot be read ({error.strerror}): check the path and its permissions") from None
    if not found:
        raise BadInput(f"{folder} holds no picture ({', '.join(sorted(SUFFIXES))}): add some, or remove the folder")
    if unread:
        endings = ", ".join(sorted({Path(name).suffix.lower() for name in unread}))
        log.warning(
            "%d pictures in %s are left out, which cannot be read (%s): convert them", len(unread), folder, endings
        )
    return found


def class_folders(folder: Path) -> list[str]:
    """List the names of the folders in a folder, sorted and without hidden ones.

    Raises:
        BadInput: if there is none, or the folder cannot be listed.
    """
    try:
        shown = [path for path in folder.iterdir() if not path.name.startswith(".")]
        names = sorted(path.name for path in shown if path.is_dir())
    except OSError as error:
        raise BadInput(f"{folder} cannot be read ({error.strerror}): check data.root and its permissions") from None
    if not names:
        raise BadInput(f"{folder} has no class folders: put the pictures of each class into a folder of its name")
    loose = sum(path.name.lower().endswith(SUFFIXES) and path.name not in names for path in shown)
    if loose:
        log.warning("%d pictures in %s are in no class folder, and are left out", loose, folder)
    return names


def domain_folder(folder: Path, domain: str) -> Path:
    """The folder of a domain, ``source`` or ``target``, where a folder holds both; else the folder itself.

    Raises:
        BadInput: if it holds the other one alone.
    """
    if holds_folders(folder / domain):
        return folder / domain
    other = next(name for name in _DOMAINS if name != domain)
    if holds_folders(folder / other):
        raise BadInput(f"{folder} has a folder {other} and none for the {domain} domain: add it")
    return folder


def is_split(folder: Path) -> bool:
    """Whether what a folder holds are the parts ``train``, ``test`` and the like, and not classes.

    A folder ``train`` without folders is a class, as are ``bus``, ``car`` and ``train``.

    Raises:
        BadInput: if that cannot be told.
    """
    if not holds_folders(folder / "train"):
        return False
    others = [name for name in class_folders(folder) if name != "train"]
    if others and not set(others) & set(_PARTS):
        raise BadInput(
            f"{folder} has the folders train and {others[0]}, which may be a part and something else, or two classes: "
            "rename train, or move the others away"
        )
    return True


def check_unsplit(folder: Path) -> None:
    """Make sure that a folder holds classes themselves, not parts or domains that hold them.

    Raises:
        BadInput: naming the folder to give instead.
    """
    inside = next((name for name in reversed(_DOMAINS) if holds_folders(folder / name)), None)
    inside = inside or ("train" if is_split(folder) else None)
    if inside:
        raise BadInput(f"{folder} holds the classes in folders such as {inside}: give {folder / inside}")


def holds_folders(folder: Path) -> bool:
    """Whether a folder is there and holds folders that are not hidden.

    Raises:
        BadInput: if it cannot be listed.
    """
    try:
        return folder.is_dir() and any(path.is_dir() and not path.name.startswith(".") for path in folder.iterdir())
    except OSError as error:
        raise BadInput(f"{folder} cannot be read ({error.strerror}): check the path and its permissions") from None


def _raise(error: OSError) -> None:
    raise error
