"""Gradients of elementwise operators."""

from __future__ import annotations

import math
from collections.abc import Sequence

import onnx

from tbft.errors import BadInput
from tbft.export.gradient_rules import rule, sum_to_operand
from tbft.export.graph import Graph, attributes_of


@rule("Add")
def _add(graph: Graph, node: onnx.NodeProto, dy: str, matters: Sequence[bool]) -> list[str | None]:
    wide = graph.shape_of(node.output[0])
    return [sum_to_operand(graph, dy, wide, x) if m else None for x, m in zip(node.input, matters, strict=True)]


@rule("Sub")
def _sub(graph: Graph, node: onnx.NodeProto, dy: str, matters: Sequence[bool]) -> list[str | None]:
    (a, b), wide = node.input, graph.shape_of(node.output[0])
    return [
        sum_to_operand(graph, dy, wide, a) if matters[0] else None,
        sum_to_operand(graph, graph.op("Neg", dy), wide, b) if matters[1] else None,
    ]


@rule("Mul")
def _mul(graph: Graph, node: onnx.NodeProto, dy: str, matters: Sequence[bool]) -> list[str | None]:
    (a, b), wide = node.input, graph.shape_of(node.output[0])
    return [
        sum_to_operand(graph, graph.op("Mul", dy, other), wide, mine) if matter else None
        for mine, other, matter in zip((a, b), (b, a), matters, strict=True)
    ]


@rule("Div")
def _div(graph: Graph, node: onnx.NodeProto, dy: str, matters: Sequence[bool]) -> list[str | None]:
    (a, b), (y,) = node.input, node.output
    wide, by = graph.shape_of(y), graph.op("Div", dy, b)
    return [
        sum_to_operand(graph, by, wide, a) if matters[0] else None,
        sum_to_operand(graph, graph.op("Neg", graph.op("Mul", by, y)), wide, b) if matters[1] else None,
    ]


@rule("Pow")
def _pow(graph: Graph, node: onnx.NodeProto, dy: str, matters: Sequence[bool]) -> list[str | None]:
    x, exponent = node.input
    power = graph.constants.get(exponent)
    if power is None or power.size != 1:
        raise BadInput("the operator Pow with an exponent that is computed has no gradient here")
    less = graph.op("Pow", x, graph.constant(power - 1))
    return [graph.op("Mul", dy, graph.op("Mul", less, graph.constant(power))), None]


@rule("Sqrt")
def _sqrt(graph: Graph, node: onnx.NodeProto, dy: str, matters: Sequence[bool]) -> list[str | None]:
    return [graph.op("Div", graph.op("Mul", dy, graph.constant(0.5)), node.output[0])]


@rule("Reciprocal")
def _reciprocal(graph: Graph, node: onnx.NodeProto, dy: str, matters: Sequence[bool]) -> list[str | None]:
    y = node.output[0]
    return [graph.op("Neg", graph.op("Mul", dy, graph.op("Mul", y, y)))]


@rule("Neg")
def _neg(graph: Graph, node: onnx.NodeProto, dy: str, matters: Sequence[bool]) -> list[str | None]:
    return [graph.op("Neg", dy)]


@rule("Exp")
def _exp(graph: Graph, node: onnx.NodeProto, dy: str, matters: Sequence[bool]) -> list[str | None]:
    return [graph.op("Mul", dy, node.output[0])]


@rule("Tanh")
def _tanh(graph: Graph, node: onnx.NodeProto, dy: str, matters: Sequence[bool]) -> list[str | None]:
    y = node.output[0]
    return [graph.op("Mul", dy, graph.op("Sub", graph.constant(1.0), graph.op("Mul", y, y)))]


@rule("Max", "Min")
def _larger_or_smaller(graph: Graph, node: onnx.NodeProto, dy: str, matters: Sequence[bool]) -> list[str | None]:
    """Give the gradient to the operand that was taken, and half of it to each of two equal ones, as in torch."""
    if len(node.input) != 2:
        raise BadInput(f"the operator {node.op_type} of {len(node.input)} tensors has no gradient here")
    wide, half = graph.shape_of(node.output[0]), graph.constant(0.5)
    gradients: list[str | None] = []
    for mine, other, matter in zip(node.input, reversed(node.input), matters, strict=True):
        taken = graph.op("Greater" if node.op_type == "Max" else "Less", mine, other)
        share = graph.op("Where", graph.op("Equal", mine, other), half, graph.op("Cast", taken, to=1))
        gradients.append(sum_to_operand(graph, graph.op("Mul", dy, share), wide, mine) if matter else None)
    return gradients


@rule("Where")
def _where(graph: Graph, node: onnx.NodeProto, dy: str, matters: Sequence[bool]) -> list[str | None]:
    condition, zero, wide = node.input[0], graph.constant(0.0), graph.shape_of(node.output[0])
    chosen = [graph.op("Where", condition, *pair) for pair in ((dy, zero), (zero, dy))]
    operands = zip(node.input[1:], chosen, matters[1:], strict=True)
    return [None, *(sum_to_operand(graph, gradient, wide, x) if matter else None for x, gradient, matter in operands)]


@rule("Relu")
def _relu(graph: Graph, node: onnx.NodeProto, dy: str, matters: Sequence[bool]) -> list[str | None]:
    passes = graph.op("Cast", node.output[0], to=onnx.TensorProto.BOOL)  # faster than the operator Sign
    return [graph.op("Mul", dy, graph.op("Cast", passes, to=onnx.TensorProto.FLOAT))]


@rule("LeakyRelu")
def _leaky_relu(graph: Graph, node: onnx.NodeProto, dy: str, matters: Sequence[bool]) -> list[str | None]:
    rises = graph.op("Greater", node.input[0], graph.constant(0.0))
    slope = graph.constant(attributes_of(node).get("alpha", 0.01))
    return [graph.op("Where", rises, dy, graph.op("Mul", dy, slope))]


@rule("Clip")
def _clip(graph: Graph, node: onnx.NodeProto, dy: str, matters: Sequence[bool]) -> list[str | None]:
    y, bounds = node.output[0], [*node.input[1:], "", ""]
    gradient = dy
    for bound, compare in zip(bounds[:2], ("Greater", "Less"), strict=True):
        if bound:
            inside = graph.op("Cast", graph.op(compare, y, bound), to=onnx.TensorProto.FLOAT)
            gradient = graph.op("Mul", gradient, inside)
    return [gradient]


@rule("Sigmoid")
def _sigmoid(graph: Graph, node: onnx.NodeProto, dy: str, matters: Sequence[bool]) -> list[str | None]:
    y = node.output[0]
    slope = graph.op("Mul", y, graph.op("Sub", graph.constant(1.0), y))
    return [graph.op("Mul", dy, slope)]


@rule("HardSigmoid")
def _hard_sigmoid(graph: Graph, node: onnx.NodeProto, dy: str, matters: Sequence[bool]) -> list[str | None]:
    y, alpha = node.output[0], attributes_of(node).get("alpha", 0.2)
    one = graph.constant(1.0)
    inside = graph.op("Mul", graph.op("Sign", y), graph.op("Sign", graph.op("Sub", one, y)))
    return [graph.op("Mul", dy, graph.op("Mul", inside, graph.constant(alpha)))]


@rule("HardSwish")
def _hard_swish(graph: Graph, node: onnx.NodeProto, dy: str, matters: Sequence[bool]) -> list[str | None]:
    """Use the slope 0 below -3, 1 above 3, and x / 3 + 1 / 2 between."""
    x = node.input[0]
    between = graph.op("Add", graph.op("Mul", x, graph.constant(1 / 3)), graph.constant(0.5))
    above = graph.op("Where", graph.op("Greater", x, graph.constant(3.0)), graph.constant(1.0), between)
    slope = graph.op("Where", graph.op("Less", x, graph.constant(-3.0)), graph.constant(0.0), above)
    return [graph.op("Mul", dy, slope)]


@rule("Gelu")
def _gelu(graph: Graph, node: onnx.NodeProto, dy: str, matters: Sequence[bool]) -> list[str | None]:
    """Differentiate GELU, exact or with tanh (Hendrycks and Gimpel 2016, arXiv:1606.08415, section 2)."""
    x, half, one = node.input[0], graph.constant(0.5), graph.constant(1.0)
    square = graph.op("Mul", x, x)
    if attributes_of(node).get("approximate", b"none") == b"tanh":
        root, cubic = math.sqrt(2 / math.pi), 0.044715
        inner = graph.op("Add", graph.op("Mul", square, graph.constant(root * cubic)), graph.constant(root))
        tanh = graph.op("Tanh", graph.op("Mul", x, inner))
        steep = graph.op("Add", graph.op("Mul", square, graph.constant(3 * root * cubic)), graph.constant(root))
        left = graph.op("Mul", half, graph.op("Add", one, tanh))
        bend = graph.op("Mul", steep, graph.op("Sub", one, graph.op("Mul", tanh, tanh)))
        density = graph.op("Mul", half, bend)
    else:
        error = graph.op("Erf", graph.op("Mul", x, graph.constant(1 / math.sqrt(2))))
        left = graph.op("Mul", half, graph.op("Add", one, error))
        bell = graph.op("Exp", graph.op("Mul", square, graph.constant(-0.5)))
        density = graph.op("Mul", bell, graph.constant(1 / math.sqrt(2 * math.pi)))
    return [graph.op("Mul", dy, graph.op("Add", left, graph.op("Mul", x, density)))]
