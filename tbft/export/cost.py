"""Estimate the cost of running a graph, in multiply-adds and memory, from the shapes of its tensors."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx

from tbft.export.forward import Forward
from tbft.models.moments import NEIGHBOURHOOD, stride_on

_TRAINING, _NEIGHBOURHOODS = 1.8, 7
"""Constants of the rule in ``image_bytes``."""


def multiply_adds(forward: Forward, operators: Sequence[str] = ("Conv", "Gemm", "MatMul")) -> float:
    """Count the multiply-adds of one image's forward pass, by default those of convolutions and matrix products."""
    return sum(_node_multiply_adds(node, forward) for node in forward.nodes if node.op_type in operators)


def _node_multiply_adds(node: onnx.NodeProto, forward: Forward) -> float:
    made = float(np.prod([size for size in forward.shapes[node.output[0]] if size]))
    if node.op_type == "Conv":  # each number of the output is a sum over one kernel
        return made * float(np.prod([size for size in forward.graph().shape_of(node.input[1])[1:] if size]))
    return made * float(forward.graph().shape_of(node.input[0])[-1] or 1)


def image_bytes(graph: str, forward: Forward) -> float:
    """Estimate the bytes that one image of a batch takes in a graph, by a rule that was compared with measurements.

    Inference keeps about the three largest activations in memory; estimating statistics takes half as much more.
    Training keeps all activations, and almost as much again for their gradients; an alignment also keeps the
    neighbourhoods about seven times. Measured for ResNet-26: 194 kB (by the rule 197), 258 kB (295), and 4.9 MB of an
    alignment with neighbourhoods at a stride of 2 (5.0).

    Args:
        graph: name of the graph in the bundle, such as ``forward``, ``statistics``, ``step.block3`` or ``align``.
        forward: forward pass of the network.
    """
    kind, _, block = graph.partition(".")
    if kind in ("step", "align"):
        nodes = forward.span(block, forward.links[-1]) if block else forward.span(None, forward.links[0])
        alive = sum(_elements(forward.shapes[name]) for node in nodes for name in node.output)
        if kind == "align":
            shape = forward.shapes[forward.links[0]]
            alive += _NEIGHBOURHOODS * NEIGHBOURHOOD**2 / stride_on(shape[2:]) ** 2 * _elements(shape)
        return 4.0 * _TRAINING * alive
    sizes = sorted((_elements(forward.shapes[name]) for node in forward.nodes for name in node.output), reverse=True)
    return 4.0 * sum(sizes[:3]) * (1.5 if kind == "statistics" else 1.0)


def _elements(shape: Sequence[int | None]) -> float:
    return float(np.prod([size for size in shape if size])) if shape and shape[0] is None else 0.0
