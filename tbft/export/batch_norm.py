"""BatchNorm with batch statistics as ONNX nodes: forward pass, gradient, and the values for the running averages."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import onnx

from tbft.errors import BadInput
from tbft.export.gradient_rules import rule
from tbft.export.graph import BatchStatistics, Graph, attributes_of


def append_nodes(
    graph: Graph,
    nodes: Sequence[onnx.NodeProto],
    by_batch: Callable[[str], bool],
) -> dict[str, BatchStatistics]:
    """Append a forward pass, with some of its BatchNorm layers in training mode.

    Networks with weight standardisation (arXiv:1903.10520) normalise their weights by the same operator, with
    statistics that they compute. Such a node is no layer, but it is differentiated like one.

    Args:
        graph: graph to append to.
        nodes: nodes of the forward pass in inference mode.
        by_batch: whether a layer normalises by the batch, by the state-dict key of its running mean.

    Returns:
        The batch statistics of these layers, by the name of the layer's output, in the order in which they run.
    """
    found: dict[str, BatchStatistics] = {}
    for node in nodes:
        layer = node.op_type == "BatchNormalization" and node.input[3] in graph.weights
        if node.op_type != "BatchNormalization" or (layer and not by_batch(node.input[3])):
            graph.nodes.append(node)
            continue
        x, output = node.input[0], node.output[0]
        options = attributes_of(node)
        axes = graph.integers(*_places(graph, x))
        channels = graph.shape_of(node.input[1])
        kept = graph.op("ReduceMean", x, axes, keepdims=1)
        centred = graph.op("Sub", x, kept, shape=graph.shape_of(x))
        mean = graph.op("Reshape", kept, graph.integers(-1), shape=channels)
        square = graph.op("Mul", centred, centred)
        variance = graph.op("ReduceMean", square, axes, keepdims=0, shape=channels)
        graph.nodes.append(
            onnx.helper.make_node(
                "BatchNormalization",
                [x, node.input[1], node.input[2], mean, variance],
                [output],
                epsilon=options.get("epsilon", 1e-5),
            )
        )
        count = _count(graph, x)
        less_one = graph.op("Sub", count, graph.constant(1.0))
        unbiased = graph.op("Mul", variance, graph.op("Div", count, less_one))
        graph.batch_statistics[output] = BatchStatistics(
            node.input[3],
            node.input[4],
            mean,
            variance,
            unbiased,
            centred,
            1 - options.get("momentum", 0.9),
            options.get("epsilon", 1e-5),
        )
        if layer:
            found[output] = graph.batch_statistics[output]
    return found


def _places(graph: Graph, x: str) -> tuple[int, ...]:
    """Return the axes over which a channel is normalised: all but the second, which is the channels'."""
    return (0, *range(2, len(graph.shape_of(x))))


def _count(graph: Graph, x: str) -> str:
    """Append the number of values over which a channel's mean is taken, as a scalar tensor."""
    images = graph.op("Cast", graph.op("Shape", x, start=0, end=1), to=onnx.TensorProto.FLOAT)
    places = 1.0
    for size in graph.shape_of(x)[2:]:
        if size is None:
            raise BadInput("a BatchNorm over images whose size is not fixed has no statistics here")
        places *= size
    return graph.op("Mul", images, graph.constant(places))


@rule("BatchNormalization")
def _batch_norm(graph: Graph, node: onnx.NodeProto, dy: str, matters: Sequence[bool]) -> list[str | None]:
    seen = graph.batch_statistics.get(node.output[0])
    x, weight, _, running_mean, running_variance = node.input
    axes = graph.integers(*_places(graph, x))
    by_channel = graph.integers(1, -1, *[1] * (len(graph.shape_of(x)) - 2))
    epsilon = seen.epsilon if seen else attributes_of(node).get("epsilon", 1e-5)
    variance = seen.variance if seen else running_variance
    inverse = graph.op("Reciprocal", graph.op("Sqrt", graph.op("Add", variance, graph.constant(epsilon))))
    zeros = graph.constant(np.zeros([size or 0 for size in graph.shape_of(weight)]))

    def scaled_without(mean: str) -> str:
        """Return ``scale (dy - mean)``, by the forward operator, which passes over the values only once."""
        return graph.op("BatchNormalization", dy, weight, zeros, mean, variance, epsilon=epsilon)

    gradients: list[str | None] = [None] * 5
    if seen is None:
        gradients[0] = scaled_without(zeros)
        if matters[1] or matters[2]:
            centred = graph.op("Sub", x, graph.op("Reshape", running_mean, by_channel))
            along = graph.op("ReduceSum", graph.op("Mul", dy, centred), axes, keepdims=0)
            gradients[1] = graph.op("Mul", along, inverse)
            gradients[2] = graph.op("ReduceSum", dy, axes, keepdims=0)
        return gradients
    # Ioffe and Szegedy 2015 (arXiv:1502.03167), section 3: dx = scale (dy - mean(dy) - centred mean(dy centred) / var).
    mean_dy = graph.op("ReduceMean", dy, axes, keepdims=0)
    mean_along = graph.op("ReduceMean", graph.op("Mul", dy, seen.centred), axes, keepdims=0)
    if matters[0]:
        slope = graph.op("Mul", mean_along, graph.op("Mul", inverse, graph.op("Mul", inverse, inverse)))
        slope = graph.op("Reshape", graph.op("Mul", slope, weight), by_channel)
        gradients[0] = graph.op("Sub", scaled_without(mean_dy), graph.op("Mul", seen.centred, slope))
    count = _count(graph, x)
    if matters[1]:
        gradients[1] = graph.op("Mul", graph.op("Mul", mean_along, inverse), count)
    if matters[2]:
        gradients[2] = graph.op("Mul", mean_dy, count)
    return gradients
