"""Gradients of convolutions and poolings, as operators that ONNX has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx

from tbft.errors import BadInput
from tbft.export.gradient_rules import rule
from tbft.export.graph import Graph, attributes_of


@rule("Conv")
def _conv(graph: Graph, node: onnx.NodeProto, dy: str, matters: Sequence[bool]) -> list[str | None]:
    if len(graph.shape_of(node.input[1])) == 3:
        return _conv_over_one_axis(graph, node, dy, matters)
    options = attributes_of(node)
    gradients: list[str | None] = [None, None, None]
    if matters[0]:
        gradients[0] = _of_images(graph, node, dy, options)
    if matters[1]:
        gradients[1] = _of_kernel(graph, node, dy, options)
    if len(matters) > 2 and matters[2]:
        gradients[2] = graph.op("ReduceSum", dy, graph.integers(0, 2, 3), keepdims=0)
    return gradients


def _conv_over_one_axis(graph: Graph, node: onnx.NodeProto, dy: str, matters: Sequence[bool]) -> list[str | None]:
    """As over images of one row."""
    options = attributes_of(node)
    if options.get("auto_pad", b"NOTSET") != b"NOTSET":
        raise BadInput("the operator Conv with padding of its own has no gradient here")
    wide: dict[str, str] = {}
    for name in (*node.input[:2], node.output[0]):
        batch, channels, size = graph.shape_of(name)
        wide[name] = graph.name("row")
        graph.shapes[wide[name]] = (batch, channels, 1, size)
    for name in node.input[:2]:
        graph.op("Unsqueeze", name, graph.integers(2), output=wide[name])
    (before, after) = options.get("pads", (0, 0))
    over_images = onnx.helper.make_node(
        "Conv",
        [*(wide[name] for name in node.input[:2]), *node.input[2:]],
        [wide[node.output[0]]],
        group=options.get("group", 1),
        strides=[1, *options.get("strides", (1,))],
        pads=[0, before, 0, after],
        dilations=[1, *options.get("dilations", (1,))],
    )
    found = _conv(graph, over_images, graph.op("Unsqueeze", dy, graph.integers(2)), matters)
    return [*(graph.op("Squeeze", name, graph.integers(2)) if name else None for name in found[:2]), *found[2:]]


def _of_images(graph: Graph, node: onnx.NodeProto, dy: str, options: dict[str, Any]) -> str:
    """The transposed convolution, as large as the images: rows that the stride left out get zeros.

    For 1 x 1 kernels that is a convolution again, which onnxruntime runs faster by a quarter to a third.
    """
    sizes, made = graph.shape_of(node.input[0])[2:], graph.shape_of(node.output[0])[2:]
    kernel, strides, pads, dilations = _window(graph, node, options)
    if kernel == strides == [1, 1] and options.get("group", 1) == 1 and not any(pads):
        return graph.op("Conv", dy, graph.op("Transpose", node.input[1], perm=[1, 0, 2, 3]), kernel_shape=kernel)
    missing = []
    for axis in (0, 1):
        size, out = sizes[axis], made[axis]
        if size is None or out is None:
            raise BadInput("the operator Conv on images whose size is not fixed has no gradient here")
        reached = (out - 1) * strides[axis] - pads[axis] - pads[2 + axis] + dilations[axis] * (kernel[axis] - 1) + 1
        missing.append(size - reached)
    return graph.op(
        "ConvTranspose",
        dy,
        node.input[1],
        group=options.get("group", 1),
        kernel_shape=kernel,
        strides=strides,
        pads=pads,
        dilations=dilations,
        output_padding=missing,
    )


def _of_kernel(graph: Graph, node: onnx.NodeProto, dy: str, options: dict[str, Any]) -> str:
    """For each tap of the kernel, one product over the images and places that the tap saw.

    Without groups it is a matrix product, ``(O, N H W)`` times ``(N H W, C)``; with a group for each channel the sum of
    products number by number (as many tiny matrix products took ten times as long). Both have the images with channels
    last: whole rows of channels are padded and cut out ten times as fast as single numbers. With G groups it is
    ``(G, C / G, N H W)`` times ``(G, N H W, O / G)``, the images with channels first.
    """
    x, weight = node.input[:2]
    kernel, strides, pads, dilations = _window(graph, node, options)
    group = int(options.get("group", 1))
    outputs, inputs = graph.shape_of(weight)[:2]
    rows, columns = graph.shape_of(node.output[0])[2:]
    if outputs is None or inputs is None or rows is None or columns is None:
        raise BadInput("the operator Conv on images whose size is not fixed has no gradient here")
    dense, by_channel = group == 1, group == outputs and inputs == 1 and group > 1
    last = dense or by_channel
    x = graph.op("Transpose", x, perm=[0, 2, 3, 1] if last else [1, 0, 2, 3])
    if any(pads):
        ends = [(0, *pads[i : i + 2], 0) if last else (0, 0, *pads[i : i + 2]) for i in (0, 2)]
        x = graph.op("Pad", x, graph.integers(*ends[0], *ends[1]))
    if by_channel:
        dy = graph.op("Transpose", dy, perm=[0, 2, 3, 1])
    else:
        dy = graph.op("Transpose", dy, perm=[1, 0, 2, 3])
        dy = graph.op("Reshape", dy, graph.integers(*((outputs, -1) if dense else (group, outputs // group, -1))))
        if not dense:
            dy = graph.op("Transpose", dy, perm=[0, 2, 1])
    axes = graph.integers(*((1, 2) if last else (2, 3)))
    taps = []
    for i in range(kernel[0]):
        for j in range(kernel[1]):
            first = (i * dilations[0], j * dilations[1])
            end = (first[0] + (rows - 1) * strides[0] + 1, first[1] + (columns - 1) * strides[1] + 1)
            seen = x
            if kernel != [1, 1] or strides != [1, 1]:
                seen = graph.op(
                    "Slice", x, graph.integers(*first), graph.integers(*end), axes, graph.integers(*strides)
                )
            if by_channel:
                products = graph.op("Mul", seen, dy)
                taps.append(graph.op("ReduceSum", products, graph.integers(0, 1, 2), keepdims=0))
            elif dense:
                taps.append(graph.op("MatMul", dy, graph.op("Reshape", seen, graph.integers(-1, inputs))))
            else:
                taps.append(graph.op("MatMul", graph.op("Reshape", seen, graph.integers(group, inputs, -1)), dy))
    stacked = graph.op("Concat", *taps, axis=0) if len(taps) > 1 else taps[0]
    if last:
        stacked = graph.op("Reshape", stacked, graph.integers(*kernel, outputs, inputs))
        return graph.op("Transpose", stacked, perm=[2, 3, 0, 1])
    stacked = graph.op("Reshape", stacked, graph.integers(*kernel, group, inputs, outputs // group))
    turned = graph.op("Transpose", stacked, perm=[2, 4, 3, 0, 1])
    return graph.op("Reshape", turned, graph.integers(outputs, inputs, *kernel))


@rule("ConvTranspose")
def _transposed_conv(graph: Graph, node: onnx.NodeProto, dy: str, matters: Sequence[bool]) -> list[str | None]:
    """The convolution that it is the transpose of, and the gradient of that one's kernel."""
    (x, weight), options = node.input[:2], attributes_of(node)
    if options.get("output_shape") or options.get("auto_pad", b"NOTSET") != b"NOTSET" or len(graph.shape_of(x)) != 4:
        raise BadInput("the operator ConvTranspose that is not over two axes with given padding has no gradient here")
    known: dict[str, Any] = {
        name: options[name] for name in ("group", "strides", "pads", "dilations") if name in options
    }
    graph.shapes[dy] = graph.shape_of(node.output[0])
    convolution = onnx.helper.make_node("Conv", [dy, weight], [x], **known)
    return [
        graph.op("Conv", dy, weight, **known) if matters[0] else None,
        _of_kernel(graph, convolution, x, known) if matters[1] else None,
        graph.op("ReduceSum", dy, graph.integers(0, 2, 3), keepdims=0) if matters[2:] == [True] else None,
    ]


@rule("AveragePool", "GlobalAveragePool")
def _average_pool(graph: Graph, node: onnx.NodeProto, dy: str, matters: Sequence[bool]) -> list[str | None]:
    x, options = node.input[0], attributes_of(node)
    channels, *sizes = graph.shape_of(x)[1:]
    made = graph.shape_of(node.output[0])[2:]
    if len(sizes) != 2 or channels is None or None in sizes:
        raise BadInput(f"the operator {node.op_type} on images whose size is not fixed has no gradient here")
    kernel, strides = list(options.get("kernel_shape", sizes)), list(options.get("strides", (1, 1)))
    pads = list(options.get("pads", (0, 0, 0, 0)))
    if kernel == sizes and not any(pads):
        share = graph.op("Mul", dy, graph.constant(1 / np.prod(kernel)))
        return [graph.op("Expand", share, graph.op("Shape", x))]
    if options.get("auto_pad", b"NOTSET") != b"NOTSET" or set(options.get("dilations", (1,))) != {1}:
        raise BadInput("the operator AveragePool with dilations or padding of its own has no gradient here")
    counts, missing = [], []
    for axis in (0, 1):
        size, before, after = sizes[axis] or 0, pads[axis], pads[2 + axis]
        starts = np.arange(made[axis] or 0) * strides[axis] - before
        outside = (before, after) if options.get("count_include_pad", 0) else (0, 0)
        ends = np.minimum(starts + kernel[axis], size + outside[1])
        counts.append(ends - np.maximum(starts, -outside[0]))
        missing.append(size + after - int(starts[-1]) - kernel[axis])
    share = graph.op("Div", dy, graph.constant(np.outer(*counts)))
    return [
        graph.op(
            "ConvTranspose",
            share,
            graph.constant(np.ones((channels, 1, *kernel))),
            group=channels,
            kernel_shape=kernel,
            strides=strides,
            # A window that is cut at the far border, as with ceil_mode, is like one that reaches into more padding.
            pads=[*pads[:2], *(pads[2 + axis] - min(missing[axis], 0) for axis in (0, 1))],
            output_padding=[max(size, 0) for size in missing],
        )
    ]


@rule("MaxPool")
def _max_pool(graph: Graph, node: onnx.NodeProto, dy: str, matters: Sequence[bool]) -> list[str | None]:
    """Each gradient goes to the place that the maximum came from."""
    if len(node.output) == 1:
        node.output.append(graph.name("places"))
    x, places = node.input[0], node.output[1]
    size = graph.op("Shape", x)
    zeros = graph.op("ConstantOfShape", graph.op("ReduceProd", size, keepdims=1))
    flat = graph.integers(-1)
    moved = graph.op(
        "ScatterElements",
        zeros,
        graph.op("Reshape", places, flat),
        graph.op("Reshape", dy, flat),
        axis=0,
        reduction="add",
    )
    return [graph.op("Reshape", moved, size)]


def _window(
    graph: Graph, node: onnx.NodeProto, options: dict[str, Any]
) -> tuple[list[int], list[int], list[int], list[int]]:
    """Kernel, strides, pads (before, then after) and dilations of a convolution over two axes."""
    kernel = [int(size) for size in graph.shape_of(node.input[1])[2:] if size]
    if len(kernel) != 2 or options.get("auto_pad", b"NOTSET") != b"NOTSET":
        raise BadInput("the operator Conv that is not over two axes with given padding has no gradient here")
    return (
        kernel,
        list(options.get("strides", (1, 1))),
        list(options.get("pads", (0, 0, 0, 0))),
        list(options.get("dilations", (1, 1))),
    )
