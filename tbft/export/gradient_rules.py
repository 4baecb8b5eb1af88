"""The table of gradients by operator; each file of rules adds its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import onnx

from tbft.export.graph import Graph

Rule = Callable[[Graph, onnx.NodeProto, str, Sequence[bool]], list["str | None"]]
"""Of a graph, a node, the gradient of its first output, and which of its inputs matter: the gradient of each input."""

RULES: dict[str, Rule] = {}
"""By operator."""


def rule(*operators: str) -> Callable[[Rule], Rule]:
    """Register the rule of some operators."""

    def register(function: Rule) -> Rule:
        RULES.update(dict.fromkeys(operators, function))
        return function

    return register
