"""Gradients of operators that work on numbers one by one, on matrices, or on the order of numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx

from tbft.errors import BadInput
from tbft.export.gradient_rules import rule
from tbft.export.graph import Graph, attributes_of


def _reduce_to(graph: Graph, gradient: str, full: str, operand: str) -> str:
    """Sum a gradient over the axes along which an operand was broadcast."""
    wide, narrow = graph.shape_of(full), graph.shape_of(operand)
    ahead = len(wide) - len(narrow)
    axes = [i for i in range(len(wide)) if i < ahead or (narrow[i - ahead] == 1 and wide[i] != 1)]
    if axes:
        gradient = graph.op("ReduceSum", gradient, graph.integers(*axes), keepdims=1)
    if ahead:
        gradient = graph.op("Reshape", gradient, graph.op("Shape", operand))
    return gradient


@rule("Add")
def _add(graph: Graph, node: onnx.NodeProto, dy: str, matters: Sequence[bool]) -> list[str | None]:
    return [_reduce_to(graph, dy, node.output[0], x) if m else None for x, m in zip(node.input, matters, strict=True)]


@rule("Sub")
def _sub(graph: Graph, node: onnx.NodeProto, dy: str, matters: Sequence[bool]) -> list[str | None]:
    a, b = node.input
    return [
        _reduce_to(graph, dy, node.output[0], a) if matters[0] else None,
        _reduce_to(graph, graph.op("Neg", dy), node.output[0], b) if matters[1] else None,
    ]


@rule("Mul")
def _mul(graph: Graph, node: onnx.NodeProto, dy: str, matters: Sequence[bool]) -> list[str | None]:
    a, b = node.input
    y = node.output[0]
    return [
        _reduce_to(graph, graph.op("Mul", dy, other), y, mine) if matter else None
        for mine, other, matter in zip((a, b), (b, a), matters, strict=True)
    ]


@rule("Div")
def _div(graph: Graph, node: onnx.NodeProto, dy: str, matters: Sequence[bool]) -> list[str | None]:
    a, b = node.input
    y = node.output[0]
    by = graph.op("Div", dy, b)
    return [
        _reduce_to(graph, by, y, a) if matters[0] else None,
        _reduce_to(graph, graph.op("Neg", graph.op("Mul", by, y)), y, b) if matters[1] else None,
    ]


@rule("Relu")
def _relu(graph: Graph, node: onnx.NodeProto, dy: str, matters: Sequence[bool]) -> list[str | None]:
    passes = graph.op("Cast", node.output[0], to=onnx.TensorProto.BOOL)  # faster than its sign
    return [graph.op("Mul", dy, graph.op("Cast", passes, to=onnx.TensorProto.FLOAT))]


@rule("Clip")
def _clip(graph: Graph, node: onnx.NodeProto, dy: str, matters: Sequence[bool]) -> list[str | None]:
    y, bounds = node.output[0], [*node.input[1:], "", ""]
    gradient = dy
    for bound, compare in zip(bounds[:2], ("Greater", "Less"), strict=True):
        if bound:
            inside = graph.op("Cast", graph.op(compare, y, bound), to=onnx.TensorProto.FLOAT)
            gradient = graph.op("Mul", gradient, inside)
    return [gradient]


@rule("Sigmoid")
def _sigmoid(graph: Graph, node: onnx.NodeProto, dy: str, matters: Sequence[bool]) -> list[str | None]:
    y = node.output[0]
    slope = graph.op("Mul", y, graph.op("Sub", graph.constant(1.0), y))
    return [graph.op("Mul", dy, slope)]


@rule("HardSigmoid")
def _hard_sigmoid(graph: Graph, node: onnx.NodeProto, dy: str, matters: Sequence[bool]) -> list[str | None]:
    y, alpha = node.output[0], attributes_of(node).get("alpha", 0.2)
    one = graph.constant(1.0)
    inside = graph.op("Mul", graph.op("Sign", y), graph.op("Sign", graph.op("Sub", one, y)))
    return [graph.op("Mul", dy, graph.op("Mul", inside, graph.constant(alpha)))]


@rule("HardSwish")
def _hard_swish(graph: Graph, node: onnx.NodeProto, dy: str, matters: Sequence[bool]) -> list[str | None]:
    """0 below -3, 1 above 3, and x / 3 + 1 / 2 between."""
    x = node.input[0]
    between = graph.op("Add", graph.op("Mul", x, graph.constant(1 / 3)), graph.constant(0.5))
    above = graph.op("Where", graph.op("Greater", x, graph.constant(3.0)), graph.constant(1.0), between)
    slope = graph.op("Where", graph.op("Less", x, graph.constant(-3.0)), graph.constant(0.0), above)
    return [graph.op("Mul", dy, slope)]


@rule("Gemm")
def _gemm(graph: Graph, node: onnx.NodeProto, dy: str, matters: Sequence[bool]) -> list[str | None]:
    options = attributes_of(node)
    if options.get("transA", 0) or options.get("alpha", 1.0) != 1.0 or options.get("beta", 1.0) != 1.0:
        raise BadInput(f"the operator Gemm with {options} has no gradient here")
    x, weight = node.input[:2]
    transposed = int(options.get("transB", 0))
    gradients: list[str | None] = [None, None, None]
    if matters[0]:
        gradients[0] = graph.op("Gemm", dy, weight, transB=1 - transposed)
    if matters[1]:
        left, right = (dy, x) if transposed else (x, dy)
        gradients[1] = graph.op("Gemm", left, right, transA=1)
    if len(matters) > 2 and matters[2]:
        gradients[2] = graph.op("ReduceSum", dy, graph.integers(0), keepdims=0)
    return gradients


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
    half = len(pads) // 2
    axes = [i for i in range(half) if pads[i] or pads[half + i]]
    starts = [int(pads[i]) for i in axes]
    ends = [-int(pads[half + i]) or np.iinfo(np.int64).max for i in axes]
    return [graph.op("Slice", dy, graph.integers(*starts), graph.integers(*ends), graph.integers(*axes))]


@rule("ReduceMean")
def _reduce_mean(graph: Graph, node: onnx.NodeProto, dy: str, matters: Sequence[bool]) -> list[str | None]:
    x, options = node.input[0], attributes_of(node)
    shape = graph.shape_of(x)
    axes = [int(i) % len(shape) for i in graph.constants[node.input[1]]]
    sizes = [shape[i] for i in axes]
    if None in sizes:
        raise BadInput("the operator ReduceMean over the images of a batch has no gradient here")
    if not options.get("keepdims", 1):
        dy = graph.op("Unsqueeze", dy, graph.integers(*axes))
    count = float(np.prod([size for size in sizes if size]))
    share = graph.op("Mul", dy, graph.constant(1 / count))
    return [graph.op("Expand", share, graph.op("Shape", x))]
