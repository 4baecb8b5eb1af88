"""Gradient of resizing images: products with two transposed interpolation matrices."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from numpy.typing import NDArray

from tbft.errors import BadInput
from tbft.export.gradient_rules import rule
from tbft.export.graph import Graph, attributes_of

_KNOWN = {(b"nearest", b"asymmetric"), (b"linear", b"half_pixel"), (b"linear", b"align_corners")}


@rule("Resize")
def _resize(graph: Graph, node: onnx.NodeProto, dy: str, matters: Sequence[bool]) -> list[str | None]:
    options = attributes_of(node)
    mode, places = options.get("mode", b"nearest"), options.get("coordinate_transformation_mode", b"half_pixel")
    sizes, made = graph.shape_of(node.input[0]), graph.shape_of(node.output[0])
    plain = not options.get("antialias", 0) and options.get("nearest_mode", b"floor") == b"floor"
    if (mode, places) not in _KNOWN or not plain or len(sizes) != 4 or sizes[1] != made[1] or None in sizes[1:]:
        raise BadInput(f"the operator Resize in mode {mode.decode()} ({places.decode()}) has no gradient here")
    rows, columns = (_interpolation(sizes[i] or 0, made[i] or 0, mode, places == b"align_corners") for i in (2, 3))
    return [graph.op("MatMul", graph.constant(rows.T), graph.op("MatMul", dy, graph.constant(columns)))]


def _interpolation(size: int, made: int, mode: bytes, align_corners: bool) -> NDArray[np.float64]:
    """Return the matrix ``(made, size)`` that resizes an axis from ``size`` to ``made``, as torch's ``interpolate``."""
    matrix, numbers = np.zeros((made, size)), np.arange(made)
    if mode == b"nearest":
        matrix[numbers, numbers * size // made] = 1
        return matrix
    aligned, centred = numbers * (size - 1) / max(made - 1, 1), (numbers + 0.5) * size / made - 0.5
    place = aligned if align_corners else np.clip(centred, 0, size - 1)
    low = place.astype(int)
    np.add.at(matrix, (numbers, low), 1 - (place - low))
    np.add.at(matrix, (numbers, np.minimum(low + 1, size - 1)), place - low)
    return matrix
