"""Tensors in the safetensors format, read and written by numpy alone.

The format (https://huggingface.co/docs/safetensors): the length of a JSON header as 8 bytes, the header with type,
shape and place of each tensor, then their values one after the other.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Tensors = dict[str, NDArray[Any]]

_TYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "U8": "|u1", "BOOL": "|b1"}
_NAMES = {np.dtype(kind): name for name, kind in _TYPES.items()}
_METADATA = "__metadata__"


def read_tensors(content: bytes) -> tuple[Tensors, dict[str, str]]:
    """Read tensors by name, and the file's metadata; the arrays are views of ``content``.

    Raises:
        ValueError: if the bytes are not of this format, or are cut short.
    """
    size = int.from_bytes(content[:8], "little")
    start = 8 + size
    if len(content) < 8 or start > len(content):
        raise ValueError("it is cut short")
    header: dict[str, Any] = json.loads(content[8:start])
    metadata = header.pop(_METADATA, {})
    tensors: Tensors = {}
    for name, entry in header.items():
        try:
            kind, (first, last) = np.dtype(_TYPES[entry["dtype"]]), entry["data_offsets"]
            count = (last - first) // kind.itemsize
            tensors[name] = np.frombuffer(content, kind, count, start + first).reshape(entry["shape"])
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"its tensor {name!r} is of no known type ({error})") from None
    return tensors, metadata


def write_tensors(tensors: Mapping[str, NDArray[Any]], metadata: Mapping[str, str] | None = None) -> bytes:
    """Return tensors and metadata as bytes that ``read_tensors`` reads."""
    header: dict[str, Any] = {_METADATA: dict(metadata or {})}
    parts, place = [], 0
    for name, value in tensors.items():
        part = np.ascontiguousarray(value).tobytes()
        kind = _NAMES[value.dtype.newbyteorder("<") if value.dtype.itemsize > 1 else value.dtype]
        header[name] = {"dtype": kind, "shape": list(value.shape), "data_offsets": [place, place + len(part)]}
        parts.append(part)
        place += len(part)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)  # the values lie at multiples of 8 bytes, as readers that map the file need it
    return b"".join([len(text).to_bytes(8, "little"), text, *parts])
