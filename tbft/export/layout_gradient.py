"""Gradients of operators that only move numbers: reshape, transpose, slice, gather, pad, concatenate, expand."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import onnx

from tbft.errors import BadInput
from tbft.export.gradient_rules import rule, sum_to_operand
from tbft.export.graph import Graph, attributes_of

_END = np.iinfo(np.int64).max


def without_splits(graph: Graph, nodes: Sequence[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    """Yield the nodes, with each ``Split`` into known sizes replaced by ``Slice``: rules take nodes with one output."""
    for node in nodes:
        axis, start = int(attributes_of(node).get("axis", 0)), 0
        if node.op_type != "Split" or any(graph.shape_of(piece)[axis] is None for piece in node.output):
            yield node
            continue
        for piece in node.output:
            size = graph.shape_of(piece)[axis] or 0
            cut = [graph.integers(i) for i in (start, start + size, axis)]
            yield onnx.helper.make_node("Slice", [node.input[0], *cut], [piece])
            start += size


@rule("Reshape", "Flatten", "Squeeze", "Unsqueeze")
def _reshape(graph: Graph, node: onnx.NodeProto, dy: str, matters: Sequence[bool]) -> list[str | None]:
    return [graph.op("Reshape", dy, graph.op("Shape", node.input[0]))]


@rule("Transpose")
def _transpose(graph: Graph, node: onnx.NodeProto, dy: str, matters: Sequence[bool]) -> list[str | None]:
    back = np.argsort(attributes_of(node)["perm"])
    return [graph.op("Transpose", dy, perm=[int(i) for i in back])]


@rule("Identity", "Dropout")
def _identity(graph: Graph, node: onnx.NodeProto, dy: str, matters: Sequence[bool]) -> list[str | None]:
    return [dy]


@rule("Expand")
def _expand(graph: Graph, node: onnx.NodeProto, dy: str, matters: Sequence[bool]) -> list[str | None]:
    return [sum_to_operand(graph, dy, graph.shape_of(node.output[0]), node.input[0])]


@rule("Concat")
def _concat(graph: Graph, node: onnx.NodeProto, dy: str, matters: Sequence[bool]) -> list[str | None]:
    axis = attributes_of(node)["axis"]
    gradients: list[str | None] = []
    start = 0
    for name, matter in zip(node.input, matters, strict=True):
        size = graph.shape_of(name)[axis]
        if size is None:
            raise BadInput("the operator Concat over the images of a batch has no gradient here")
        cut = (graph.integers(start), graph.integers(start + size), graph.integers(axis))
        gradients.append(graph.op("Slice", dy, *cut) if matter else None)
        start += size
    return gradients


@rule("Pad")
def _pad(graph: Graph, node: onnx.NodeProto, dy: str, matters: Sequence[bool]) -> list[str | None]:
    options, pads = attributes_of(node), graph.constants.get(node.input[1])
    if options.get("mode", b"constant") != b"constant" or pads is None or (len(node.input) > 3 and node.input[3]):
        raise BadInput(f"the operator Pad in mode {options.get('mode')!r} has no gradient here")
    return [graph.op("Pad", dy, graph.integers(*(-int(size) for size in pads)))]


@rule("Slice")
def _slice(graph: Graph, node: onnx.NodeProto, dy: str, matters: Sequence[bool]) -> list[str | None]:
    """Put the gradient back into place, with zeros where the slice took nothing."""
    cut = [graph.constants.get(name) for name in node.input[1:]]
    if any(value is None for value in cut):
        raise BadInput("the operator Slice at places that are computed has no gradient here")
    starts, ends, *more = [[int(i) for i in np.ravel(value)] for value in cut if value is not None]
    shape = graph.shape_of(node.input[0])
    axes = more[0] if more else range(len(starts))
    steps = more[1] if len(more) > 1 else [1] * len(starts)
    before, after = [0] * len(shape), [0] * len(shape)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        size = shape[axis]
        if size is None:
            if (start, step) == (0, 1) and end == _END:
                continue
            raise BadInput("the operator Slice over the images of a batch has no gradient here")
        places = range(size)[slice(start, end if end > -size or step > 0 else None, step)]
        if step < 0:
            back = (graph.integers(-1), graph.integers(-_END), graph.integers(axis), graph.integers(-1))
            dy, places = graph.op("Slice", dy, *back), places[::-1]
        if places.step > 1:
            dy = _spread(graph, dy, axis % len(shape), places.step, len(shape))
        before[axis] = places.start
        after[axis] = size - places.start - len(places) * places.step
    return [graph.op("Pad", dy, graph.integers(*before, *after))]


def _spread(graph: Graph, x: str, axis: int, step: int, rank: int) -> str:
    """Insert ``step - 1`` zeros after each number along an axis.

    Args:
        graph: graph to append to.
        x: name of the tensor.
        axis: axis along which zeros are inserted.
        step: distance between the numbers afterwards.
        rank: number of the tensor's axes.
    """
    pads = [0] * (rank + 1)
    pads[axis + 1] = step - 1
    apart = graph.op(
        "Pad", graph.op("Unsqueeze", x, graph.integers(axis + 1)), graph.integers(*[0] * (rank + 1), *pads)
    )
    longer = [step if i == axis else 1 for i in range(rank)]
    return graph.op("Reshape", apart, graph.op("Mul", graph.op("Shape", x), graph.integers(*longer)))


@rule("Gather")
def _gather(graph: Graph, node: onnx.NodeProto, dy: str, matters: Sequence[bool]) -> list[str | None]:
    """Add each gradient at the place that its number came from."""
    x, places = node.input
    shape, rank = graph.shape_of(x), len(graph.shape_of(places))
    axis = attributes_of(node).get("axis", 0) % len(shape)
    others = [i for i in range(len(shape)) if i != axis]
    zeros = graph.op("ConstantOfShape", graph.op("Gather", graph.op("Shape", x), graph.integers(axis, *others)))
    ahead = [*range(axis, axis + rank), *(i for i in range(len(others) + rank) if not axis <= i < axis + rank)]
    moved = graph.op("Transpose", dy, perm=ahead) if axis else dy
    rows = graph.op("ScatterND", zeros, graph.op("Unsqueeze", places, graph.integers(-1)), moved, reduction="add")
    back = [int(i) for i in np.argsort([axis, *others])]
    return [graph.op("Transpose", rows, perm=back) if axis else rows, None]


@rule("GatherND")
def _gather_from(graph: Graph, node: onnx.NodeProto, dy: str, matters: Sequence[bool]) -> list[str | None]:
    if attributes_of(node).get("batch_dims", 0):
        raise BadInput("the operator GatherND with axes of a batch has no gradient here")
    zeros = graph.op("ConstantOfShape", graph.op("Shape", node.input[0]))
    return [graph.op("ScatterND", zeros, node.input[1], dy, reduction="add"), None]
