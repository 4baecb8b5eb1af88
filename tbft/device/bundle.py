"""Reader of a bundle, the one file that a device gets: code, graphs, weights, and a manifest."""

from __future__ import annotations

import hashlib
import json
import zipfile
import zlib
from functools import cached_property
from pathlib import Path
from typing import Any

from tbft.device.tensors import Tensors, read_tensors
from tbft.errors import BadInput

FORMAT = 3
"""Version of the bundle's layout; a reader accepts no other version."""

MANIFEST, WEIGHTS, SOURCE = "manifest.json", "weights.safetensors", "source.safetensors"
GRAPHS = "graphs/"


class Bundle:
    """A bundle that is open for reading; each member is compared with its checksum when it is read.

    Args:
        path: path of the bundle.

    Raises:
        BadInput: if there is no such file, or it is cut short, changed, no bundle, or of another version.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._file = zipfile.ZipFile(path)
            manifest: Any = json.loads(self._file.read(MANIFEST))
        except (FileNotFoundError, IsADirectoryError):
            raise BadInput(f"there is no bundle {path}: write one with python -m tbft export") from None
        except KeyError:
            raise BadInput(f"{path} is no bundle of tbft: write one with python -m tbft export") from None
        except (zipfile.BadZipFile, zlib.error, ValueError, OSError, NotImplementedError, EOFError) as error:
            raise BadInput(
                f"{path} is cut short or changed ({error}): copy it again from where it was written"
            ) from None
        if manifest.get("format") != FORMAT:
            raise BadInput(
                f"{path} is of format {manifest.get('format')!r}, and this code reads {FORMAT}: export it again, or "
                "run the bundle itself (python pet.pyz)"
            )
        self.manifest: dict[str, Any] = manifest

    def read(self, member: str) -> bytes:
        """Return the bytes of a member.

        Raises:
            BadInput: if it is missing or was changed.
        """
        try:
            content = self._file.read(member)
            whole = hashlib.sha256(content).hexdigest() == self.manifest["checksums"][member]
        except (KeyError, zipfile.BadZipFile, zlib.error, OSError, NotImplementedError, EOFError):
            whole = False
        if not whole:
            raise BadInput(f"{self.path} was changed or is cut short (its {member}): copy it again")
        return content

    def check(self) -> None:
        """Compare every member with its checksum.

        Raises:
            BadInput: naming the first member that is missing or was changed.
        """
        for member in self.manifest["checksums"]:
            self.read(member)

    @cached_property
    def weights(self) -> Tensors:
        """Parameters and buffers of the base model by state-dict key."""
        return read_tensors(self.read(WEIGHTS))[0]

    @cached_property
    def source(self) -> Tensors:
        """Moments of the front block on the source domain, and the source card; empty if neither is known."""
        return read_tensors(self.read(SOURCE))[0] if SOURCE in self.manifest["checksums"] else {}

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the base model's weights, which identifies it."""
        return self.manifest["checksums"][WEIGHTS]

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in the order of the logits; numbers where the base model does not name its classes."""
        return tuple(self.manifest["classes"] or map(str, range(self.manifest["num_classes"])))

    @property
    def int8(self) -> dict[str, Any] | None:
        """The manifest's entry about the forward pass in int8; ``None`` if the bundle has none."""
        return self.manifest.get("int8")

    @property
    def names_classes(self) -> bool:
        """Whether the base model names its classes."""
        return bool(self.manifest["classes"])

    @property
    def image_size(self) -> int:
        """Side of the images, in pixels."""
        return int(self.manifest["image_size"])

    def has(self, graph: str) -> bool:
        """Return whether the bundle has a graph of this name."""
        return graph in self.manifest["graphs"]

    def graph(self, name: str) -> tuple[bytes, dict[str, Any]]:
        """Return a graph's ONNX bytes, and the manifest's entry about it."""
        return self.read(f"{GRAPHS}{name}.onnx"), self.manifest["graphs"][name]
