"""Gradients of sums, means, norms and maxima along axes, of the softmax, and of layer and instance normalisation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx

from tbft.errors import BadInput
from tbft.export.gradient_rules import rule, sum_to_operand
from tbft.export.graph import Graph, attributes_of


def _axes(graph: Graph, node: onnx.NodeProto) -> list[int]:
    places = graph.constants.get(node.input[1]) if len(node.input) > 1 else None
    if places is None:
        raise BadInput(f"the operator {node.op_type} over the whole batch has no gradient here")
    rank = len(graph.shape_of(node.input[0]))
    return [int(i) % rank for i in np.ravel(places)]


def _with_axes(graph: Graph, node: onnx.NodeProto, reduced: str) -> str:
    """Return a reduced tensor with the reduced axes restored, of size 1."""
    if attributes_of(node).get("keepdims", 1):
        return reduced
    return graph.op("Unsqueeze", reduced, graph.integers(*_axes(graph, node)))


@rule("ReduceSum", "ReduceMean")
def _reduce_sum(graph: Graph, node: onnx.NodeProto, dy: str, matters: Sequence[bool]) -> list[str | None]:
    x = node.input[0]
    sizes = [graph.shape_of(x)[i] for i in _axes(graph, node)]
    dy = _with_axes(graph, node, dy)
    if node.op_type == "ReduceMean":
        if None in sizes:
            raise BadInput("the operator ReduceMean over the images of a batch has no gradient here")
        count = float(np.prod([size for size in sizes if size]))
        dy = graph.op("Mul", dy, graph.constant(1 / count))
    return [graph.op("Expand", dy, graph.op("Shape", x)), None]


@rule("ReduceL2")
def _reduce_norm(graph: Graph, node: onnx.NodeProto, dy: str, matters: Sequence[bool]) -> list[str | None]:
    norm = _with_axes(graph, node, node.output[0])
    norm = graph.op("Max", norm, graph.constant(np.finfo(np.float32).tiny))  # avoids 0 / 0 for a vector of zeros
    return [graph.op("Mul", _with_axes(graph, node, dy), graph.op("Div", node.input[0], norm)), None]


@rule("ReduceMax")
def _reduce_max(graph: Graph, node: onnx.NodeProto, dy: str, matters: Sequence[bool]) -> list[str | None]:
    """Give the gradient in equal parts to all places with the maximum, as in torch."""
    largest = graph.op("Equal", node.input[0], _with_axes(graph, node, node.output[0]))
    places = graph.op("Cast", largest, to=onnx.TensorProto.FLOAT)
    count = graph.op("ReduceSum", places, graph.integers(*_axes(graph, node)), keepdims=1)
    return [graph.op("Mul", places, graph.op("Div", _with_axes(graph, node, dy), count)), None]


@rule("Softmax")
def _softmax(graph: Graph, node: onnx.NodeProto, dy: str, matters: Sequence[bool]) -> list[str | None]:
    y, axis = node.output[0], attributes_of(node).get("axis", -1)
    weighted = graph.op("Mul", dy, y)
    mean = graph.op("ReduceSum", weighted, graph.integers(axis), keepdims=1)
    return [graph.op("Sub", weighted, graph.op("Mul", y, mean))]


@rule("LayerNormalization")
def _layer_norm(graph: Graph, node: onnx.NodeProto, dy: str, matters: Sequence[bool]) -> list[str | None]:
    """Differentiate layer normalisation (Ba et al. 2016, arXiv:1607.06450).

    Its mean and inverse standard deviation are further outputs of the operator, which are added if they are missing.
    """
    while len(node.output) < 3:
        node.output.append(graph.name("moment"))
    x, scale, shape = node.input[0], node.input[1], graph.shape_of(node.input[0])
    first = attributes_of(node).get("axis", -1) % len(shape)
    mean, inverse = node.output[1:]
    normalised = graph.op("Mul", graph.op("Sub", x, mean), inverse)
    slope = _through_normalisation(graph, graph.op("Mul", dy, scale), normalised, inverse, range(first, len(shape)))
    along = graph.op("Mul", dy, normalised)
    return [
        slope if matters[0] else None,
        sum_to_operand(graph, along, shape, scale) if matters[1] else None,
        sum_to_operand(graph, dy, shape, node.input[2]) if len(matters) > 2 and matters[2] else None,
    ]


@rule("InstanceNormalization")
def _instance_norm(graph: Graph, node: onnx.NodeProto, dy: str, matters: Sequence[bool]) -> list[str | None]:
    """Differentiate normalisation of each channel of each image; torch's GroupNorm uses it with groups as channels."""
    x, scale, _ = node.input
    rank, epsilon = len(graph.shape_of(x)), attributes_of(node).get("epsilon", 1e-5)
    axes = graph.integers(*range(2, rank))
    centred = graph.op("Sub", x, graph.op("ReduceMean", x, axes, keepdims=1))
    variance = graph.op("ReduceMean", graph.op("Mul", centred, centred), axes, keepdims=1)
    inverse = graph.op("Reciprocal", graph.op("Sqrt", graph.op("Add", variance, graph.constant(epsilon))))
    normalised = graph.op("Mul", centred, inverse)
    by_channel = graph.op("Reshape", scale, graph.integers(1, -1, *[1] * (rank - 2)))
    others = graph.integers(0, *range(2, rank))
    return [
        _through_normalisation(graph, graph.op("Mul", dy, by_channel), normalised, inverse, range(2, rank)),
        graph.op("ReduceSum", graph.op("Mul", dy, normalised), others, keepdims=0) if matters[1] else None,
        graph.op("ReduceSum", dy, others, keepdims=0) if matters[2] else None,
    ]


def _through_normalisation(graph: Graph, dy: str, normalised: str, inverse: str, axes: Sequence[int]) -> str:
    """Append ``inverse (dy - mean(dy) - normalised mean(dy normalised))``, with means over the given axes."""
    over = graph.integers(*axes)
    mean = graph.op("ReduceMean", dy, over, keepdims=1)
    along = graph.op("ReduceMean", graph.op("Mul", dy, normalised), over, keepdims=1)
    rest = graph.op("Sub", graph.op("Sub", dy, mean), graph.op("Mul", normalised, along))
    return graph.op("Mul", rest, inverse)
