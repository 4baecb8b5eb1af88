"""Optimisers as ONNX nodes, whose step updates all trained parameters as one vector."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx

from tbft.export.graph import Graph


@dataclass(frozen=True)
class AdamW:
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019, arXiv:1711.05101), with torch's defaults.

    Attributes:
        betas: decay rates of the first and the second moment.
        epsilon: number that is added to the root of the second moment.
        weight_decay: share of a parameter that one step removes, per unit of learning rate.
    """

    betas: tuple[float, float] = (0.9, 0.999)
    epsilon: float = 1e-8
    weight_decay: float = 0.01

    moments = 2

    def append(
        self, graph: Graph, parameters: str, gradient: str, moments: list[str], rate: str, step: str
    ) -> tuple[str, list[str]]:
        """Append one step to a graph; all tensors are given by name.

        Scalars are computed in float64, as torch computes them in Python: in float32, 1 - 0.999 has five digits. All
        factors that are equal for all parameters are multiplied first, since each pass over a large network's
        parameters costs as much as a layer.

        Args:
            graph: graph to append to.
            parameters: vector of the parameters ``(P,)``.
            gradient: vector of their gradients ``(P,)``.
            moments: vectors of the first and second moments ``(P,)``, as decaying sums: torch's moments are these times
                one minus beta. They are zeros before the first step.
            rate: learning rate, a float64 scalar.
            step: number of this step, counted from 1, a float64 scalar.

        Returns:
            The new parameters, and the new moments.
        """
        single = onnx.TensorProto.FLOAT
        first, second = self.betas
        one = graph.constant(1.0, np.float64)

        def correction(beta: float) -> str:
            return graph.op("Sub", one, graph.op("Pow", graph.constant(beta, np.float64), step))

        def decaying_sum(old: str, value: str, beta: float) -> str:
            return graph.op("Add", graph.op("Mul", old, graph.constant(beta)), value)

        # torch computes rate / (1 - beta1^t) * mean / (sqrt(square / (1 - beta2^t)) + epsilon); here both numerator
        # and denominator are multiplied by r.
        root = graph.op("Sqrt", graph.op("Div", correction(second), graph.constant(1 - second, np.float64)))  # r
        size = graph.op("Div", graph.op("Mul", rate, graph.constant(1 - first, np.float64)), correction(first))
        decay = graph.op("Mul", rate, graph.constant(self.weight_decay, np.float64))
        epsilon = graph.op("Mul", root, graph.constant(self.epsilon, np.float64))
        step_size, share_kept, small = (
            graph.op("Cast", scalar, to=single)
            for scalar in (graph.op("Mul", size, root), graph.op("Sub", one, decay), epsilon)
        )
        mean = decaying_sum(moments[0], gradient, first)
        square = decaying_sum(moments[1], graph.op("Mul", gradient, gradient), second)
        direction = graph.op("Div", mean, graph.op("Add", graph.op("Sqrt", square), small))
        kept = graph.op("Mul", parameters, share_kept)
        return graph.op("Sub", kept, graph.op("Mul", direction, step_size)), [mean, square]


@dataclass(frozen=True)
class SGD:
    """Stochastic gradient descent with heavy-ball momentum and coupled weight decay, as in torch.

    Attributes:
        momentum: share of the last step's direction that is added to the gradient.
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
