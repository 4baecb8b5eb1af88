"""Graphs that need no gradient: the whole network, its prefix, its statistics on a batch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx

from tbft.export.batch_norm import append_nodes
from tbft.export.forward import IMAGES, Forward
from tbft.export.graph import BatchStatistics, Graph

PIXELS = "pixels"
"""Input of the graphs that take images: uint8 ``(N, C, H, W)``; they normalise them themselves."""


def append_pixels(graph: Graph, forward: Forward, mean: Sequence[float], std: Sequence[float]) -> None:
    """Append the way from pixels to images as the network takes them: ``(pixels / 255 - mean) / std``."""
    graph.add_input(PIXELS, np.uint8, (None, *forward.image_shape))
    channels = forward.image_shape[0]
    by_channel = (1, channels, 1, 1)
    mean_of, std_of = (np.broadcast_to(np.asarray(v, np.float64), channels).reshape(by_channel) for v in (mean, std))
    numbers = graph.op("Cast", PIXELS, to=onnx.TensorProto.FLOAT)
    scaled = graph.op("Mul", numbers, graph.constant(1 / (255 * std_of)))
    graph.op("Add", scaled, graph.constant(-mean_of / std_of), output=IMAGES)


def whole_network(forward: Forward, mean: Sequence[float], std: Sequence[float]) -> bytes:
    """Pixels to ``features`` (what enters the head) and ``logits``, in inference mode."""
    graph = forward.graph()
    append_pixels(graph, forward, mean, std)
    graph.nodes += forward.span(None, forward.links[-1])
    graph.op("Identity", forward.links[-1], output="logits")
    graph.op("Identity", forward.entry(forward.links[-1]), output="features")
    return graph.serialize({"features": np.float32, "logits": np.float32})


def prefix(forward: Forward, block: str, mean: Sequence[float], std: Sequence[float]) -> bytes:
    """Pixels to ``features``: what enters a block, in inference mode."""
    graph = forward.graph()
    append_pixels(graph, forward, mean, std)
    graph.nodes += forward.span(None, forward.entry(block))
    graph.op("Identity", forward.entry(block), output="features")
    return graph.serialize({"features": np.float32})


def statistics(forward: Forward, mean: Sequence[float], std: Sequence[float]) -> tuple[bytes, list[str]] | None:
    """Pixels to ``statistics``: mean and unbiased variance of every BatchNorm layer on this batch.

    Each layer normalises with the batch's own mean and (biased) variance, so that the next one sees what it will see
    under the new statistics; the mean over the batches is what ``tbft.models.statistics.estimating_statistics``
    leaves. ``features`` and ``logits`` are those of the batch under its own statistics.

    Returns:
        The graph, and the state-dict keys of what it returns, in order; ``None`` for a network without BatchNorm.
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
    """Tensors of means and unbiased variances, and the state-dict keys where their running averages stand."""
    tensors = [tensor for layer in seen for tensor in (layer.mean, layer.unbiased)]
    return tensors, [key for layer in seen for key in (layer.mean_key, layer.variance_key)]
