"""Optimisers written in tensors: the step over all trained parameters as one vector."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx

from tbft.export.graph import Graph


@dataclass(frozen=True)
class AdamW:
    """Decoupled weight decay (Loshchilov and Hutter 2019, arXiv:1711.05101), with torch's defaults.

    Attributes:
        betas: decay of the first and the second moment.
        epsilon: added to the root of the second moment.
        weight_decay: share of a parameter that one unit of learning rate takes away.
    """

    betas: tuple[float, float] = (0.9, 0.999)
    epsilon: float = 1e-8
    weight_decay: float = 0.01

    moments = 2

    def append(
        self, graph: Graph, parameters: str, gradient: str, moments: list[str], rate: str, step: str
    ) -> tuple[str, list[str]]:
        """Append one step.

        Scalars are computed in float64, as torch computes them in Python: 1 - 0.999 has five digits in float32.

        Args:
            graph: to append to.
            parameters: vector ``(P,)``.
            gradient: likewise.
            moments: likewise, first and second; zeros before the first step.
            rate: learning rate, a float64 scalar.
            step: number of this step from 1 on, a float64 scalar.

        Returns:
            New parameters, and new moments.
        """
        single = onnx.TensorProto.FLOAT
        first, second = self.betas
        one = graph.constant(1.0, np.float64)

        def correction(beta: float) -> str:
            return graph.op("Sub", one, graph.op("Pow", graph.constant(beta, np.float64), step))

        size = graph.op("Cast", graph.op("Div", rate, correction(first)), to=single)
        root = graph.op("Cast", graph.op("Sqrt", correction(second)), to=single)
        decay = graph.op("Mul", rate, graph.constant(self.weight_decay, np.float64))
        kept = graph.op("Mul", parameters, graph.op("Cast", graph.op("Sub", one, decay), to=single))
        mean = _average(graph, moments[0], gradient, first)
        square = _average(graph, moments[1], graph.op("Mul", gradient, gradient), second)
        scaled = graph.op("Div", graph.op("Sqrt", square), root)
        direction = graph.op("Div", mean, graph.op("Add", scaled, graph.constant(self.epsilon)))
        return graph.op("Sub", kept, graph.op("Mul", direction, size)), [mean, square]


@dataclass(frozen=True)
class SGD:
    """Stochastic gradient descent with heavy-ball momentum and coupled weight decay, as in torch.

    Attributes:
        momentum: share of the last direction that is kept.
        weight_decay: share of the parameters that is added to the gradient.
    """

    momentum: float = 0.0
    weight_decay: float = 0.0

    moments = 1

    def append(
        self, graph: Graph, parameters: str, gradient: str, moments: list[str], rate: str, step: str
    ) -> tuple[str, list[str]]:
        """Append one step; see ``AdamW.append``."""
        if self.weight_decay:
            decay = graph.op("Mul", parameters, graph.constant(self.weight_decay))
            gradient = graph.op("Add", gradient, decay)
        before = graph.op("Mul", moments[0], graph.constant(self.momentum))
        direction = graph.op("Add", before, gradient)
        change = graph.op("Mul", direction, graph.op("Cast", rate, to=onnx.TensorProto.FLOAT))
        return graph.op("Sub", parameters, change), [direction]


Optimizer = AdamW | SGD


def _average(graph: Graph, average: str, value: str, beta: float) -> str:
    old = graph.op("Mul", average, graph.constant(beta))
    return graph.op("Add", old, graph.op("Mul", value, graph.constant(1 - beta)))
