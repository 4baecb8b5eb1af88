"""Quantisation for the int8 forward pass: weights when a graph is opened, activations by calibrated ranges.

The graph of a bundle refers to the quantised tensors by name, as it does to weights. numpy makes them from the current
weights, the base model's or adapted ones, so that a device calibrates again after an adaptation with onnxruntime alone.

Affine quantisation by layer, weights by output channel: Jacob et al. 2018 (arXiv:1712.05877), section 2.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tbft.device.tensors import Tensors

RANGES = "int8.ranges"
"""Key of the ranges of the activations in a delta: ``(T, 2)``, least and largest number of each."""

LARGEST_WEIGHT = 64
"""Weights are whole numbers from -64 to 64.

Then a sum of two products with unsigned bytes fits into 16 bits (255 x 64 x 2 < 2^15), in which processors without VNNI
add. With 127 the sum would saturate there, and answers would depend on the processor.
"""

_LARGEST_BIAS = 2.0**30
_LEAST_SCALE = 1e-12


@dataclass(frozen=True)
class Layer:
    """A convolution to quantise, with the BatchNorm behind it folded into its weights.

    Attributes:
        weight: state-dict key of the weight ``(O, I, H, W)``.
        bias: state-dict key of the bias ``(O,)``; ``None`` if there is none.
        norm: keys of scale, offset, mean and variance of the BatchNorm; empty if there is none.
        epsilon: number that the BatchNorm adds to the variance.
        entry: number of the input's range.
    """

    weight: str
    bias: str | None
    norm: tuple[str, ...]
    epsilon: float
    entry: int

    @classmethod
    def of(cls, entry: Mapping[str, Any]) -> Layer:
        """Return the layer that a manifest's entry describes."""
        return cls(**{**entry, "norm": tuple(entry["norm"])})

    def folded(self, weights: Mapping[str, NDArray[Any]]) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return weight ``(O, I, H, W)`` and bias ``(O,)`` with the BatchNorm folded in, in float64."""
        weight = weights[self.weight].astype(np.float64)
        bias = weights[self.bias].astype(np.float64) if self.bias else np.zeros(len(weight))
        if self.norm:
            scale, offset, mean, variance = (weights[key].astype(np.float64) for key in self.norm)
            scale = scale / np.sqrt(variance + self.epsilon)
            weight, bias = weight * scale.reshape(-1, 1, 1, 1), (bias - mean) * scale + offset
        return weight, bias


def names_of(layer: Layer) -> dict[str, str]:
    """Return the names of a layer's quantised tensors in the graph."""
    return {part: f"{layer.weight}:{part}" for part in ("weight", "scale", "bias", "bias_scale")}


def range_names(number: int) -> tuple[str, str]:
    """Return the names of a range's scale and zero point in the graph."""
    return f"range{number}:scale", f"range{number}:zero_point"


def quantised(layers: Sequence[Layer], ranges: NDArray[Any], weights: Mapping[str, NDArray[Any]]) -> Tensors:
    """Return the quantised tensors that the graph reads in place of weights, by name.

    Args:
        layers: layers to quantise.
        ranges: least and largest number of each activation ``(T, 2)``.
        weights: weights by state-dict key.
    """
    tensors: Tensors = {}
    low, high = (
        np.minimum(ranges[:, 0], 0.0),
        np.maximum(ranges[:, 1], 0.0),
    )  # zero is exact: borders are padded with it
    scales = np.maximum((high - low) / 255, _LEAST_SCALE).astype(np.float32)
    for number, scale in enumerate(scales):
        names = range_names(number)
        tensors[names[0]] = np.array(scale)
        tensors[names[1]] = np.clip(np.round(-low[number] / scale), 0, 255).astype(np.uint8)
    for layer in layers:
        weight, bias = layer.folded(weights)
        names_in_graph, entry = names_of(layer), float(scales[layer.entry])
        scale = np.abs(weight).max(axis=(1, 2, 3)) / LARGEST_WEIGHT
        scale = np.maximum(scale, np.abs(bias) / (entry * _LARGEST_BIAS))  # a channel of zeros has a bias all the same
        scale = np.maximum(scale, _LEAST_SCALE).astype(np.float32)
        made = {
            "weight": np.round(weight / scale.reshape(-1, 1, 1, 1)).astype(np.int8),
            "scale": scale,
            "bias": np.round(bias / (entry * scale)).astype(np.int32),
            "bias_scale": (entry * scale).astype(np.float32),
        }
        tensors |= {names_in_graph[part]: value for part, value in made.items()}
    return tensors
