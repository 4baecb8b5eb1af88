"""Gradients of matrix products: MatMul, Gemm and Einsum."""

from __future__ import annotations

from collections.abc import Sequence

import onnx

from tbft.errors import BadInput
from tbft.export.gradient_rules import rule, sum_to_operand
from tbft.export.graph import Graph, attributes_of


@rule("MatMul")
def _matmul(graph: Graph, node: onnx.NodeProto, dy: str, matters: Sequence[bool]) -> list[str | None]:
    a, b = node.input
    left, right = graph.shape_of(a), graph.shape_of(b)
    if min(len(left), len(right)) < 2:
        raise BadInput("the operator MatMul of a vector has no gradient here")
    batch = graph.shape_of(node.output[0])[:-2]
    gradients: list[str | None] = [None, None]
    if matters[0]:
        product = graph.op("MatMul", dy, _transposed(graph, b))
        gradients[0] = sum_to_operand(graph, product, (*batch, *left[-2:]), a)
    if matters[1] and len(right) == 2 and None not in right:  # a single product instead of one for each image
        rows, columns = (graph.integers(-1, size or 0) for size in right)
        gradients[1] = graph.op("Gemm", graph.op("Reshape", a, rows), graph.op("Reshape", dy, columns), transA=1)
    elif matters[1]:
        product = graph.op("MatMul", _transposed(graph, a), dy)
        gradients[1] = sum_to_operand(graph, product, (*batch, *right[-2:]), b)
    return gradients


@rule("Einsum")
def _einsum(graph: Graph, node: onnx.NodeProto, dy: str, matters: Sequence[bool]) -> list[str | None]:
    """Differentiate a product of two tensors: each one's gradient is that of the output times the other tensor."""
    equation = attributes_of(node)["equation"].decode().replace(" ", "")
    operands, _, made = equation.partition("->")
    each = operands.split(",")
    missing = [set(mine) - set(made) - set(other) for mine, other in zip(each, reversed(each), strict=True)]
    if len(each) != 2 or any(missing) or "." in equation or not made or any(len(set(i)) < len(i) for i in each):
        raise BadInput(f"the operator Einsum {equation} has no gradient here")
    gradients: list[str | None] = []
    for mine, other, name, matter in zip(each, reversed(each), reversed(node.input), matters, strict=True):
        back = f"{made},{other}->{mine}"
        gradients.append(graph.op("Einsum", dy, name, equation=back) if matter else None)
    return gradients


@rule("Gemm")
def _gemm(graph: Graph, node: onnx.NodeProto, dy: str, matters: Sequence[bool]) -> list[str | None]:
    options = attributes_of(node)
    if options.get("transA", 0) or options.get("alpha", 1.0) != 1.0 or options.get("beta", 1.0) != 1.0:
        raise BadInput(f"the operator Gemm with {options} has no gradient here")
    x, weight = node.input[:2]
    transposed = int(options.get("transB", 0))
    gradients: list[str | None] = [None, None, None]
    if matters[0]:
        gradients[0] = graph.op("Gemm", dy, weight, transB=1 - transposed)
    if matters[1]:
        left, right = (dy, x) if transposed else (x, dy)
        gradients[1] = graph.op("Gemm", left, right, transA=1)
    if len(matters) > 2 and matters[2]:
        gradients[2] = graph.op("ReduceSum", dy, graph.integers(0), keepdims=0)
    return gradients


def _transposed(graph: Graph, x: str) -> str:
    """Append the transpose of a matrix, or of each matrix in a batch."""
    axes = list(range(len(graph.shape_of(x))))
    return graph.op("Transpose", x, perm=[*axes[:-2], axes[-1], axes[-2]])
