"""Gradients as ONNX nodes, operator by operator, against torch's autograd."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from onnx import helper
from torch import Tensor

from tbft.device.runtime import Runtime
from tbft.errors import BadInput
from tbft.export.gradient import append_gradient
from tbft.export.graph import Graph

Network = Callable[..., Tensor]


def gradients_in_onnx(
    operator: str, inputs: list[Tensor], constants: list[Any], seed: Tensor, attributes: dict[str, Any]
) -> list[np.ndarray]:
    """Gradients of ``sum(seed * operator(inputs, constants))`` with respect to the inputs."""
    graph = Graph({})
    names = [graph.add_input(f"x{i}", np.float32, tuple(x.shape)) for i, x in enumerate(inputs)]
    fixed = ["" if c is None else graph.constant(c, np.asarray(c).dtype.type) for c in constants]
    node = helper.make_node(operator, [*names, *fixed], ["y"], **attributes)
    graph.nodes.append(node)
    graph.shapes["y"] = tuple(seed.shape)
    graph.add_input("seed", np.float32, tuple(seed.shape))
    found = append_gradient(graph, [node], {"y": "seed"}, names)
    outputs = {}
    for name, gradient in found.items():
        outputs[f"d{name}"] = np.float32
        graph.op("Identity", gradient, output=f"d{name}")
    session = Runtime(1).open(graph.serialize(outputs), {}, [])
    made = session(seed=seed.numpy(), **{f"x{i}": x.detach().numpy() for i, x in enumerate(inputs)})
    return [made[f"dx{i}"] for i in range(len(inputs))]


def conv(groups: int = 1, stride: int = 1, padding: int = 1, dilation: int = 1) -> tuple[Network, dict[str, Any]]:
    attributes = {
        "group": groups,
        "strides": [stride] * 2,
        "pads": [padding] * 4,
        "dilations": [dilation] * 2,
    }
    return lambda x, w, b: F.conv2d(x, w, b, stride, padding, dilation, groups), attributes


FLOAT_LIMITS = [np.float32(0), np.float32(6)]
CASES: dict[str, tuple[str, list[tuple[int, ...]], Network, dict[str, Any], list[Any]]] = {
    "convolution": ("Conv", [(2, 4, 7, 7), (6, 4, 3, 3), (6,)], *conv(), []),
    "wide convolution": ("Conv", [(2, 128, 5, 6), (128, 128, 3, 3), (128,)], *conv(padding=2, dilation=2), []),
    "convolution with stride, even size": ("Conv", [(2, 4, 8, 8), (6, 4, 3, 3), (6,)], *conv(stride=2), []),
    "convolution with stride 1 x 1": ("Conv", [(2, 4, 8, 8), (6, 4, 1, 1), (6,)], *conv(stride=2, padding=0), []),
    "pointwise convolution": ("Conv", [(2, 4, 5, 5), (6, 4, 1, 1), (6,)], *conv(padding=0), []),
    "grouped convolution": ("Conv", [(2, 4, 7, 7), (6, 2, 3, 3), (6,)], *conv(groups=2), []),
    "depthwise convolution": ("Conv", [(2, 4, 7, 7), (4, 1, 5, 5), (4,)], *conv(groups=4, stride=2, padding=2), []),
    "convolution over one axis": (
        *("Conv", [(2, 4, 7), (6, 2, 3), (6,)], lambda x, w, b: F.conv1d(x, w, b, 2, 1, 1, 2)),
        {"group": 2, "strides": [2], "pads": [1, 1], "dilations": [1]},
        [],
    ),
    "transposed convolution": (
        *("ConvTranspose", [(2, 4, 3, 3), (4, 6, 3, 3), (6,)], lambda x, w, b: F.conv_transpose2d(x, w, b, 2, 1, 1)),
        {"strides": [2, 2], "pads": [1, 1, 1, 1], "output_padding": [1, 1]},
        [],
    ),
    "dilated convolution": ("Conv", [(2, 4, 9, 9), (6, 4, 3, 3), (6,)], *conv(padding=2, dilation=2), []),
    "linear layer": ("Gemm", [(3, 5), (4, 5), (4,)], F.linear, {"transB": 1}, []),
    "relu": ("Relu", [(2, 3, 4, 4)], F.relu, {}, []),
    "relu6": ("Clip", [(2, 3, 4, 4)], F.relu6, {}, FLOAT_LIMITS),
    "sigmoid": ("Sigmoid", [(2, 3, 4, 4)], torch.sigmoid, {}, []),
    "hard sigmoid": ("HardSigmoid", [(2, 3, 4, 4)], F.hardsigmoid, {"alpha": 1 / 6, "beta": 0.5}, []),
    "hard swish": ("HardSwish", [(2, 3, 4, 4)], F.hardswish, {}, []),
    "sum": ("Add", [(2, 3, 4, 4), (2, 3, 4, 4)], torch.add, {}, []),
    "difference": ("Sub", [(2, 3, 4, 4), (3, 1, 1)], torch.sub, {}, []),
    "squeeze and excitation": ("Mul", [(2, 3, 4, 4), (2, 3, 1, 1)], torch.mul, {}, []),
    "quotient": ("Div", [(2, 3), (2, 1)], lambda a, b: a / b, {}, []),
    "average pooling": (
        *("AveragePool", [(2, 3, 8, 8)], lambda x: F.avg_pool2d(x, 2)),
        {"kernel_shape": [2, 2], "strides": [2, 2]},
        [],
    ),
    "overlapping average pooling": (
        *("AveragePool", [(2, 3, 7, 7)], lambda x: F.avg_pool2d(x, 3, 2, 1)),
        {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1], "count_include_pad": 1},
        [],
    ),
    "global average pooling": ("GlobalAveragePool", [(2, 3, 5, 4)], lambda x: F.adaptive_avg_pool2d(x, 1), {}, []),
    "mean over places": (
        *("ReduceMean", [(2, 3, 5, 4)], lambda x: x.mean((2, 3))),
        {"keepdims": 0},
        [np.array([2, 3])],
    ),
    "max pooling": (
        *("MaxPool", [(2, 3, 8, 8)], lambda x: F.max_pool2d(x, 3, 2, 1)),
        {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]},
        [],
    ),
    "missing channels": (
        *("Pad", [(2, 3, 4, 4)], lambda x: F.pad(x, (0, 0, 0, 0, 0, 2))),
        {},
        [np.array([0, 0, 0, 0, 0, 2, 0, 0])],
    ),
    "concatenation": ("Concat", [(2, 3, 4), (2, 5, 4)], lambda *x: torch.cat(x, 1), {"axis": 1}, []),
    "flattening": ("Flatten", [(2, 3, 4)], lambda x: x.flatten(1), {"axis": 1}, []),
    "slice": (
        *("Slice", [(2, 7, 4)], lambda x: x[:, 1:6:2, -3:]),
        {},
        [np.array([1, -3]), np.array([6, 99]), np.array([1, 2]), np.array([2, 1])],
    ),
    "slice backwards": (
        *("Slice", [(2, 7)], lambda x: x.flip(1)[:, ::3]),
        {},
        [np.array([-1]), np.array([np.iinfo(np.int64).min]), np.array([1]), np.array([-3])],
    ),
    "one place": ("Gather", [(2, 3, 4)], lambda x: x[:, 1], {"axis": 1}, [np.array(1)]),
    "places, one twice": (
        *("Gather", [(2, 5, 4)], lambda x: x[:, [[1, 4], [1, 0]]]),
        {"axis": 1},
        [np.array([[1, 4], [1, 0]])],
    ),
    "places over two axes": (
        *("GatherND", [(3, 4, 2)], lambda x: x[[0, 2, 0], [1, 3, 1]]),
        {},
        [np.array([[0, 1], [2, 3], [0, 1]])],
    ),
    "cropping one side": (
        *("Pad", [(2, 4)], lambda x: F.pad(x, (-1, 1))),
        {},
        [np.array([0, -1, 0, 1])],
    ),
    "average pooling, padding not counted": (
        *("AveragePool", [(2, 3, 6, 6)], lambda x: F.avg_pool2d(x, 3, 2, 1, ceil_mode=True, count_include_pad=False)),
        {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1], "ceil_mode": 1},
        [],
    ),
    "leaky relu": ("LeakyRelu", [(2, 3, 4)], F.leaky_relu, {}, []),
    "einsum": (
        *("Einsum", [(2, 3, 4), (5, 3, 4)], lambda a, b: torch.einsum("bhc,khc->bhk", a, b)),
        {"equation": "bhc,khc->bhk"},
        [],
    ),
    "expansion": ("Expand", [(1, 3, 1)], lambda x: x.expand(2, 3, 4), {}, [np.array([2, 3, 4])]),
    "doubled sides": (
        *("Resize", [(2, 3, 2, 3)], lambda x: F.interpolate(x, size=(4, 6))),
        {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"},
        [None, None, np.array([2, 3, 4, 6])],
    ),
    "bilinear resizing, corners aligned": (
        *("Resize", [(2, 3, 4, 3)], lambda x: F.interpolate(x, size=(6, 2), mode="bilinear", align_corners=True)),
        {"mode": "linear", "coordinate_transformation_mode": "align_corners"},
        [None, None, np.array([2, 3, 6, 2])],
    ),
    "bilinear resizing": (
        *("Resize", [(2, 3, 4, 3)], lambda x: F.interpolate(x, size=(6, 2), mode="bilinear")),
        {"mode": "linear"},
        [None, None, np.array([2, 3, 6, 2])],
    ),
    "product of matrices": ("MatMul", [(2, 3, 4, 1), (2, 1, 1, 6)], torch.matmul, {}, []),
    "product with a weight": ("MatMul", [(2, 3, 4), (4, 5)], torch.matmul, {}, []),
    "gelu": ("Gelu", [(2, 3, 4)], F.gelu, {}, []),
    "gelu by tanh": ("Gelu", [(2, 3, 4)], partial(F.gelu, approximate="tanh"), {"approximate": "tanh"}, []),
    "square": ("Pow", [(2, 3, 4)], lambda x: x**2, {}, [np.float32(2)]),
    "root": ("Sqrt", [(2, 3, 4)], lambda x: x.sqrt(), {}, []),
    "reciprocal": ("Reciprocal", [(2, 3, 4)], lambda x: x.reciprocal(), {}, []),
    "negative": ("Neg", [(2, 3, 4)], torch.neg, {}, []),
    "exponential": ("Exp", [(2, 3, 4)], torch.exp, {}, []),
    "tanh": ("Tanh", [(2, 3, 4)], torch.tanh, {}, []),
    "larger": ("Max", [(2, 3, 4), (3, 1)], torch.maximum, {}, []),
    "smaller": ("Min", [(2, 3, 4), (3, 1)], torch.minimum, {}, []),
    "softmax": ("Softmax", [(2, 3, 4)], lambda x: x.softmax(1), {"axis": 1}, []),
    "sum over places": ("ReduceSum", [(2, 3, 4)], lambda x: x.sum(1, keepdim=True), {}, [np.array([1])]),
    "norm": ("ReduceL2", [(2, 3, 4)], lambda x: x.norm(dim=-1), {"keepdims": 0}, [np.array([-1])]),
    "largest": ("ReduceMax", [(2, 3, 4)], lambda x: x.amax(1), {"keepdims": 0}, [np.array([1])]),
    "layer normalisation": (
        *("LayerNormalization", [(2, 3, 4), (3, 4), (3, 4)], lambda x, w, b: F.layer_norm(x, (3, 4), w, b)),
        {"axis": 1},
        [],
    ),
    "instance normalisation": (
        *("InstanceNormalization", [(2, 3, 8), (3,), (3,)], lambda x, w, b: F.instance_norm(x, weight=w, bias=b)),
        {},
        [],
    ),
    "transposition": ("Transpose", [(2, 3, 4)], lambda x: x.permute(2, 0, 1), {"perm": [2, 0, 1]}, []),
}


@pytest.mark.parametrize("case", CASES)
def test_gradients_are_those_of_torch(case: str) -> None:
    operator, shapes, network, attributes, constants = CASES[case]
    generator = torch.Generator().manual_seed(0)
    inputs = [(4 * torch.randn(shape, generator=generator)).requires_grad_() for shape in shapes]
    if operator == "Sqrt":
        inputs = [x.detach().abs().requires_grad_() for x in inputs]
    output = network(*inputs)
    seed = torch.randn(output.shape, generator=generator)
    expected = torch.autograd.grad(output, inputs, seed)
    for mine, theirs in zip(gradients_in_onnx(operator, inputs, constants, seed, attributes), expected, strict=True):
        np.testing.assert_allclose(mine, theirs.numpy(), rtol=1e-4, atol=1e-5 * float(theirs.abs().max()))


def test_pieces_of_a_split_each_have_their_gradient() -> None:
    x = torch.arange(10.0).reshape(2, 5).requires_grad_()
    first, _, third = x.split([1, 1, 3], dim=1)  # the second piece is not used
    expected = torch.autograd.grad((first * third).sum(), x)[0]
    graph = Graph({})
    graph.add_input("x", np.float32, (2, 5))
    split = helper.make_node("Split", ["x", graph.integers(1, 1, 3)], ["a", "b", "c"], axis=1)
    product = helper.make_node("Mul", ["a", "c"], ["y"])
    graph.nodes += [split, product]
    graph.shapes |= {"a": (2, 1), "b": (2, 1), "c": (2, 3), "y": (2, 3)}
    seed = graph.constant(np.ones((2, 3)))
    gradient = append_gradient(graph, [split, product], {"y": seed}, ["x"])["x"]
    graph.op("Identity", gradient, output="dx")
    found = Runtime(1).open(graph.serialize({"dx": np.float32}), {}, [])(x=x.detach().numpy())["dx"]
    np.testing.assert_allclose(found, expected.numpy())


def test_the_choice_between_two_tensors_sends_each_gradient_back() -> None:
    x = torch.randn(2, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
    expected = torch.autograd.grad(torch.where(x > 0, 2 * x, 3 * x).sum(), x)[0]
    graph = Graph({})
    graph.add_input("x", np.float32, (2, 3))
    for factor in (2.0, 3.0):
        graph.op("Mul", "x", graph.constant(factor), output=f"times {factor:.0f}", shape=(2, 3))
    condition = graph.op("Greater", "x", graph.constant(0.0), shape=(2, 3))
    graph.op("Where", condition, "times 2", "times 3", output="y", shape=(2, 3))
    gradient = append_gradient(graph, list(graph.nodes), {"y": graph.constant(np.ones((2, 3)))}, ["x"])["x"]
    graph.op("Identity", gradient, output="dx")
    found = Runtime(1).open(graph.serialize({"dx": np.float32}), {}, [])(x=x.detach().numpy())["dx"]
    np.testing.assert_allclose(found, expected.numpy())


def test_an_operator_without_a_gradient_is_named() -> None:
    graph = Graph({})
    graph.add_input("x", np.float32, (2, 3))
    graph.op("Erf", "x", output="y", shape=(2, 3))
    with pytest.raises(BadInput, match=r"the operator Erf \(in layer4\.act\) has no gradient here"):
        append_gradient(graph, graph.nodes[:1], {"y": "x"}, ["x"], {"y": "layer4.act"})


def test_a_tensor_without_a_part_in_the_loss_is_named() -> None:
    graph = Graph({})
    graph.add_input("x", np.float32, (2, 3))
    graph.add_input("unused", np.float32, (2, 3))
    graph.op("Relu", "x", output="y", shape=(2, 3))
    with pytest.raises(BadInput, match="unused has no part in the loss"):
        append_gradient(graph, graph.nodes[:1], {"y": "x"}, ["unused"])
