"""The table of gradient rules by operator, to which each file of rules adds its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import onnx

from tbft.export.graph import Graph, Shape

Rule = Callable[[Graph, onnx.NodeProto, str, Sequence[bool]], list["str | None"]]
"""A function that appends the gradient of a node to a graph. It takes the graph, the node, the gradient of the node's
first output, and for each input whether its gradient is needed; it returns the gradient of each input or ``None``."""

RULES: dict[str, Rule] = {}
"""Gradient rule of each operator."""


def rule(*operators: str) -> Callable[[Rule], Rule]:
    """Return a decorator that registers a function as the rule of some operators."""

    def register(function: Rule) -> Rule:
        RULES.update(dict.fromkeys(operators, function))
        return function

    return register


def sum_to_operand(graph: Graph, gradient: str, wide: Shape, operand: str) -> str:
    """Sum a gradient of the shape ``wide`` over the axes along which an operand was broadcast."""
    narrow = graph.shape_of(operand)
    ahead = len(wide) - len(narrow)
    axes = [i for i in range(len(wide)) if i < ahead or (narrow[i - ahead] == 1 and wide[i] != 1)]
    if axes:
        gradient = graph.op("ReduceSum", gradient, graph.integers(*axes), keepdims=1)
    if ahead:
        gradient = graph.op("Reshape", gradient, graph.op("Shape", operand))
    return gradient
