"""Graphs without gradients: the whole network, a prefix of it, and its BatchNorm statistics on a batch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx

from tbft.export.batch_norm import append_nodes
from tbft.export.forward import IMAGES, Forward
from tbft.export.graph import BatchStatistics, Graph

PIXELS = "pixels"
"""Name of the input of graphs that take images ``(N, C, H, W)``, uint8, which the graphs themselves normalise."""


def append_pixels(graph: Graph, forward: Forward, mean: Sequence[float], std: Sequence[float]) -> None:
    """Append the normalisation of pixels to the network's images: ``(pixels / 255 - mean) / std``."""
    graph.add_input(PIXELS, np.uint8, (None, *forward.image_shape))
    channels = forward.image_shape[0]
    by_channel = (1, channels, 1, 1)
    mean_of, std_of = (np.broadcast_to(np.asarray(v, np.float64), channels).reshape(by_channel) for v in (mean, std))
    numbers = graph.op("Cast", PIXELS, to=onnx.TensorProto.FLOAT)
    scaled = graph.op("Mul", numbers, graph.constant(1 / (255 * std_of)))
    graph.op("Add", scaled, graph.constant(-mean_of / std_of), output=IMAGES)


def whole_network(forward: Forward, mean: Sequence[float], std: Sequence[float]) -> bytes:
    """Make the graph from pixels to ``features`` (the head's input) and ``logits``, in inference mode."""
    graph = forward.graph()
    append_pixels(graph, forward, mean, std)
    graph.nodes += forward.span(None, forward.links[-1])
    graph.op("Identity", forward.links[-1], output="logits")
    graph.op("Identity", forward.entry(forward.links[-1]), output="features")
    return graph.serialize({"features": np.float32, "logits": np.float32})


def prefix(forward: Forward, block: str, mean: Sequence[float], std: Sequence[float]) -> bytes:
    """Make the graph from pixels to ``features``, the input of a block, in inference mode."""
    graph = forward.graph()
    append_pixels(graph, forward, mean, std)
    graph.nodes += forward.span(None, forward.entry(block))
    graph.op("Identity", forward.entry(block), output="features")
    return graph.serialize({"features": np.float32})


def statistics(forward: Forward, mean: Sequence[float], std: Sequence[float]) -> tuple[bytes, list[str]] | None:
    """Make the graph from pixels to ``statistics``: mean and unbiased variance of every BatchNorm layer on a batch.

    Each layer normalises with the batch's own mean and (biased) variance, so that the next layer gets the input that it
    will have with the new statistics. The mean over batches equals the result of
    ``tbft.models.statistics.estimating_statistics``. The graph also returns ``features`` and ``logits`` of the batch
    under its own statistics.

    Returns:
        The graph, and the state-dict keys of the values in ``statistics``, in their order; ``None`` for a network
        without BatchNorm.
    """
    graph = forward.graph()
    append_pixels(graph, forward, mean, std)
    seen = append_nodes(graph, forward.span(None, forward.links[-1]), lambda _: True)
    if not seen:
        return None
    tensors, keys = running_statistics(list(seen.values()))
    graph.op("Identity", graph.flatten(tensors), output="statistics")
    graph.op("Identity", forward.links[-1], output="logits")
    graph.op("Identity", forward.entry(forward.links[-1]), output="features")
    return graph.serialize(dict.fromkeys(("statistics", "features", "logits"), np.float32)), keys


def running_statistics(seen: list[BatchStatistics]) -> tuple[list[str], list[str]]:
    """Return the tensors of means and unbiased variances, and the state-dict keys of their running averages."""
    tensors = [tensor for layer in seen for tensor in (layer.mean, layer.unbiased)]
    return tensors, [key for layer in seen for key in (layer.mean_key, layer.variance_key)]
