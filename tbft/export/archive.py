"""Make the bundle's file: a zipapp with the device's code, which Python can run."""

from __future__ import annotations

import importlib.util
import io
import py_compile
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from tbft.errors import BadInput

MODULES = (
    *("tbft", "tbft.atomic", "tbft.errors", "tbft.paths", "tbft.predictions", "tbft.progress", "tbft.schema"),
    "tbft.version",
    *("tbft.data", "tbft.data.picture_file", "tbft.data.picture_folders", "tbft.data.copies", "tbft.data.class_names"),
    "tbft.data.splits",
)
"""Modules in the bundle, besides those of ``PACKAGES``."""

PACKAGES = ("tbft.device", "tbft.energy", "tbft.remedies", "tbft.diagnosis")
"""Packages of which all modules are in the bundle, if they are installed."""

MAIN = """\
import sys
import zipfile
import zlib

member = "directory"
try:
    with zipfile.ZipFile(sys.argv[0]) as bundle:
        for member in bundle.namelist():
            if member.endswith((".py", ".pyc")):
                bundle.read(member)
except (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError):
    print(f"error: {sys.argv[0]} was changed or is cut short (its {member}): copy it again", file=sys.stderr)
    sys.exit(2)

from tbft.device.command import main

sys.exit(main())
"""
"""What runs first in a bundle: it compares the code with its checksums, which Python does not."""


def code_members() -> Iterator[tuple[str, bytes]]:
    """Yield the device's modules as members of a zipapp: names and contents.

    Raises:
        BadInput: if a module is missing from this installation.
    """
    for name in MODULES:
        spec = importlib.util.find_spec(name)
        if spec is None or spec.origin is None:
            raise BadInput(f"the module {name} is missing from this installation of tbft: install it again")
        is_package = spec.submodule_search_locations is not None
        yield from _module(name.replace(".", "/") + ("/__init__.py" if is_package else ".py"), Path(spec.origin))
    for name in PACKAGES:
        spec = importlib.util.find_spec(name)
        if spec is None or spec.origin is None:
            continue
        folder = Path(spec.origin).parent
        for file in sorted(folder.rglob("*.py")):
            yield from _module(f"{name.replace('.', '/')}/{file.relative_to(folder).as_posix()}", file)


def _module(name: str, file: Path) -> Iterator[tuple[str, bytes]]:
    """Yield a module's source and its bytecode for this release of Python; others compile the source at each start."""
    yield name, file.read_bytes()
    with tempfile.TemporaryDirectory() as folder:
        mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
        compiled = py_compile.compile(
            str(file), str(Path(folder) / "module.pyc"), dfile=name, doraise=True, invalidation_mode=mode
        )
        assert compiled is not None
        yield f"{name}c", Path(compiled).read_bytes()


def zip_members(members: Mapping[str, bytes]) -> bytes:
    """Make a zip file with a first line that lets a shell run it; equal members give equal bytes."""
    content = io.BytesIO()
    content.write(b"#!/usr/bin/env python3\n")
    with zipfile.ZipFile(content, "a") as archive:
        for name, member in members.items():
            entry = zipfile.ZipInfo(name, (2020, 1, 1, 0, 0, 0))
            stored = name.endswith(".safetensors")  # weights hardly compress and are read at each start
            entry.compress_type = zipfile.ZIP_STORED if stored else zipfile.ZIP_DEFLATED
            archive.writestr(entry, member)
    return content.getvalue()
