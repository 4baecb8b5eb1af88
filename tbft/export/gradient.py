"""Append the backward pass of a part of a network to its forward pass, as ONNX nodes.

ONNX has no backward operators, and onnxruntime no longer releases a training build. Reverse-mode differentiation over
the operators of a forward pass (Griewank and Walther, Evaluating Derivatives, 2nd ed., section 3.2) gives an ordinary
graph that every onnxruntime can run.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import onnx

from tbft.errors import BadInput
from tbft.export import (  # noqa: F401 - they register their rules
    batch_norm,
    convolution_gradient,
    elementwise_gradient,
    matrix_gradient,
    reduction_gradient,
    resize_gradient,
)
from tbft.export.gradient_rules import RULES
from tbft.export.graph import Graph
from tbft.export.layout_gradient import without_splits

_WITHOUT_GRADIENT = frozenset({"Shape", "Size", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "ArgMax"})
"""Operators that return whole numbers or truth values, through which no gradient passes."""


def append_gradient(
    graph: Graph,
    nodes: Sequence[onnx.NodeProto],
    seeds: Mapping[str, str],
    wanted: Iterable[str],
    layers: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Append the backward pass of some nodes.

    Args:
        graph: graph that already has the nodes.
        nodes: nodes of the forward pass, in the order in which they run.
        seeds: gradient of the loss with respect to the last tensors: names of tensors to names of gradients.
        wanted: names of the tensors whose gradients are needed.
        layers: name of the module that each tensor comes from, for messages.

    Returns:
        Name of the gradient by the name of each wanted tensor.

    Raises:
        BadInput: if an operator between them has no rule, or a wanted tensor does not affect the loss.
    """
    depends = set(wanted)
    nodes = list(without_splits(graph, nodes))
    for node in nodes:
        if depends.intersection(node.input) and node.op_type not in _WITHOUT_GRADIENT:
            depends.update(node.output)
    gradients: dict[str, list[str]] = {name: [gradient] for name, gradient in seeds.items()}
    for node in reversed(nodes):
        output = node.output[0]
        matters = [name in depends for name in node.input]
        if output not in gradients or not any(matters):
            continue
        if node.op_type not in RULES:
            where = (layers or {}).get(output) or output
            raise BadInput(f"the operator {node.op_type} (in {where}) has no gradient here")
        from_above = _sum(graph, gradients.pop(output))
        try:
            found = RULES[node.op_type](graph, node, from_above, matters)
        except BadInput as error:
            raise BadInput(f"{error} (in {(layers or {}).get(output) or output})") from error
        for name, matter, gradient in zip(node.input, matters, found, strict=False):
            if matter and gradient is not None:
                graph.shapes.setdefault(gradient, graph.shape_of(name))
                gradients.setdefault(name, []).append(gradient)
    missing = [name for name in wanted if name not in gradients]
    if missing:
        raise BadInput(f"{missing[0]} has no part in the loss: it cannot be trained")
    return {name: _sum(graph, gradients[name]) for name in wanted}


def _sum(graph: Graph, parts: list[str]) -> str:
    if len(parts) == 1:
        return parts[0]
    return graph.op("Sum", *parts, shape=graph.shapes.get(parts[0]))
