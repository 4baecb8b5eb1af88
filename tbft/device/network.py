"""Forward passes of a bundle's model, with the weights that an adaptation changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tbft.device.bundle import Bundle
from tbft.device.int8 import RANGES, Layer, quantised
from tbft.device.memory import LEAST_BATCH, MemoryLimit
from tbft.device.runtime import Runtime, Session
from tbft.device.tensors import Tensors
from tbft.progress import with_bar
from tbft.remedies.refresh import LARGE_BATCH

_SPARE = 2
"""Memory that opening a graph takes, in units of one image."""

_PIECE_BYTES = 2**24
"""Most bytes that a piece of a set of images takes, where no image's result depends on the others.

Larger pieces no longer fit into the processor's caches, and the C library gives their memory back after each layer.
1,024 images of 32 pixels took ResNet-26 0.58 CPU-seconds in pieces of 12 MiB and 0.72 in pieces of 48; 256 images of
128 pixels took MobileNetV3-Small 0.09 in pieces of 13 MiB and 0.18 in pieces of 216, RegNetX-200MF 0.32 in pieces of 12
and 0.52 in pieces of 384.
"""

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]
Forward = Callable[[Pixels], tuple[Floats, Floats]]
"""Features that enter the head ``(N, ...)`` and logits ``(N, C)`` of images ``(N, C, H, W)``."""


@dataclass
class Network:
    """A bundle's model with some weights changed.

    Attributes:
        bundle: graphs and base weights.
        runtime: onnxruntime, which opens the graphs.
        limit: memory limit.
        changed: weights that differ from the base model's, by state-dict key.
    """

    bundle: Bundle
    runtime: Runtime
    limit: MemoryLimit = field(default_factory=MemoryLimit)
    changed: Tensors = field(default_factory=dict)

    def with_changes(self, changed: Mapping[str, NDArray[Any]]) -> Network:
        """Return this network with more weights changed, by state-dict key."""
        return Network(self.bundle, self.runtime, self.limit, {**self.changed, **changed})

    def weight(self, key: str) -> NDArray[Any]:
        """Return the present value of a weight."""
        return self.changed.get(key, self.bundle.weights[key])

    def open(self, graph: str, *, repeated: bool = False, more: Tensors | None = None) -> Session:
        """Open a graph of the bundle with the present weights, and more tensors by name; see ``Runtime.open``."""
        content, about = self.bundle.graph(graph)
        weights = {**self.bundle.weights, **self.changed, **(more or {})}
        return self.runtime.open(content, weights, about["weights"], repeated=repeated)

    def run(self, pixels: Pixels) -> tuple[Floats, Floats]:
        """Return features that enter the head ``(N, ...)`` and logits ``(N, C)`` of images ``(N, C, H, W)``."""
        return self.forward()(pixels)

    def forward(self) -> Forward:
        """Open the forward pass once for several sets of images; see ``run``."""
        session = self.open("forward")

        def run(pixels: Pixels) -> tuple[Floats, Floats]:
            parts = list(self._pass("forward", pixels, session))
            return np.concatenate([p["features"] for p in parts]), np.concatenate([p["logits"] for p in parts])

        return run

    @property
    def ranges(self) -> NDArray[Any] | None:
        """Ranges of the activations ``(T, 2)`` for a forward pass in int8.

        ``None`` if the bundle has no such pass, or the ranges are not known for the present weights.
        """
        if self.bundle.int8 is None:
            return None
        return self.changed.get(RANGES) if self.changed else np.array(self.bundle.int8["ranges"])

    def predict(self, pixels: Pixels) -> Floats:
        """Return logits ``(N, C)`` of images ``(N, C, H, W)``: in int8 where its ranges are known, else in float."""
        return self.run(pixels)[1] if self.ranges is None else self.predict_in_int8(pixels, self.ranges)

    def predict_in_int8(self, pixels: Pixels, ranges: NDArray[Any]) -> Floats:
        """Return logits ``(N, C)`` in int8, by given ranges of the activations ``(T, 2)``."""
        assert self.bundle.int8 is not None
        layers = [Layer.of(entry) for entry in self.bundle.int8["layers"]]
        tensors = quantised(layers, ranges, {**self.bundle.weights, **self.changed})
        return np.concatenate([part["logits"] for part in self._pass("int8", pixels, self.open("int8", more=tensors))])

    def extremes(self, pixels: Pixels) -> tuple[Floats, Floats]:
        """Return least and largest number of each activation by image ``(T, 2, N)``, and float logits ``(N, C)``."""
        parts = list(self._pass("ranges", pixels, self.open("ranges")))
        return np.concatenate([p["ranges"] for p in parts], axis=2), np.concatenate([p["logits"] for p in parts])

    def prefix(self, block: str, pixels: Pixels) -> Floats:
        """Return the features ``(N, ...)`` that enter a block, of images ``(N, C, H, W)``."""
        shape = self.bundle.manifest["blocks"][block]["features"]
        features = self.limit.empty((len(pixels), *shape), np.float32)
        done = 0
        graph = f"prefix.{block}"
        for made in self._pass(graph, pixels, self.open(graph)):
            part = made["features"]
            features[done : done + len(part)] = part
            self.limit.release(features)
            done += len(part)
        return features

    def _pass(self, graph: str, pixels: Pixels, session: Session) -> Iterator[Tensors]:
        """Yield a graph's outputs by name, for one piece of the images after the other."""
        size = self.piece_of(graph)
        pieces = self.limit.pieces(pixels, size)
        for piece in with_bar(pieces, -(-len(pixels) // size), "looking at images"):
            yield session(pixels=piece)

    @property
    def can_refresh(self) -> bool:
        """Whether it has BatchNorm layers."""
        return self.bundle.has("statistics")

    def statistics(self, pixels: Pixels) -> Tensors:
        """Estimate BatchNorm statistics on images, by state-dict key: the mean over a few large batches."""
        return self._mean_statistics(self._batch_statistics(pixels))

    def refreshed(self, pixels: Pixels) -> tuple[Tensors, Floats, Floats]:
        """Estimate statistics on images, and return these with the images' features and logits under them.

        One batch that is large enough gives all three in one pass. Normalising by the batch and by the statistics that
        are kept of it differ in the variance alone, which is kept without bias, by less than 1 / ``LARGE_BATCH``.
        """
        made = self._batch_statistics(pixels)
        changed = self._mean_statistics(made)
        if len(made) == 1 and len(pixels) >= LARGE_BATCH:
            return changed, made[0]["features"], made[0]["logits"]
        return changed, *self.with_changes(changed).run(pixels)

    def _batch_statistics(self, pixels: Pixels) -> list[Tensors]:
        session = self.open("statistics")
        batches = -(-len(pixels) // self.batch_of("statistics", least=min(LEAST_BATCH, len(pixels))))
        made = []
        for part in np.array_split(pixels, batches):
            outputs = session(pixels=part)
            made.append(outputs if batches == 1 else {"statistics": outputs["statistics"]})
            self.limit.release(pixels)
        return made

    def _mean_statistics(self, made: list[Tensors]) -> Tensors:
        parts = np.stack([part["statistics"] for part in made])
        mean: Floats = parts.mean(axis=0, dtype=np.float64).astype(np.float32)
        return self.pieces(mean, self.bundle.manifest["blocks"]["statistics"])

    def vector(self, keys: list[str]) -> Floats:
        """Return some weights as one vector, the form in which graphs that train take them."""
        return np.concatenate([self.weight(key).ravel() for key in keys]) if keys else np.zeros(0, np.float32)

    def pieces(self, vector: Floats, keys: list[str]) -> Tensors:
        """Cut a vector into the weights that it consists of, by key.

        The weights are copies: a view of a session's output would keep all memory of that session.
        """
        shapes = [self.bundle.weights[key].shape for key in keys]
        ends = np.cumsum([int(np.prod(shape)) for shape in shapes])
        parts = np.split(vector, ends[:-1]) if keys else []
        return {key: part.reshape(shape).copy() for key, part, shape in zip(keys, parts, shapes, strict=True)}

    @property
    def can_align(self) -> bool:
        """Whether the bundle can align the front block, and the memory limit allows it."""
        return self.bundle.has("align") and self.limit.allows(self._image_bytes("align"), LEAST_BATCH + _SPARE)

    def batch_of(self, graph: str, least: int = 1) -> int:
        """Return how many images a graph may take at once; at least ``least``.

        Raises:
            BadInput: if not even ``least`` images fit into the memory limit.
        """
        return self.limit.batch(self._image_bytes(graph), least)

    def piece_of(self, graph: str) -> int:
        """Return how many images a graph takes at once where no image's result depends on the others.

        Raises:
            BadInput: if not even one fits into the memory limit.
        """
        return min(self.batch_of(graph), max(1, int(_PIECE_BYTES / self._image_bytes(graph))))

    def _image_bytes(self, graph: str) -> float:
        return float(self.bundle.manifest["graphs"][graph]["image_bytes"])
