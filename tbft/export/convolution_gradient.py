"""Gradients of convolutions and poolings, made of ONNX operators."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
    """Treat a convolution over one axis as one over images with a single row."""
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
    """Append the gradient with respect to the images: a transposed convolution, padded to the images' size.

    For 1 x 1 kernels it is an ordinary convolution, which onnxruntime runs faster by a quarter to a third.
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
    """Append the gradient with respect to the kernel: for each tap, a product over all images and places.

    Without groups it is a matrix product, ``(O, N H W)`` times ``(N H W, C)``. With one group per channel it is a sum
    of elementwise products (many tiny matrix products took ten times as long). The images are turned to channels last,
    because whole rows of channels are padded and sliced ten times as fast as single numbers.
    """
    x, weight = node.input[:2]
    outputs, inputs, *kernel = (size or 0 for size in graph.shape_of(weight))
    group = int(options.get("group", 1))
    by_channel = group == outputs and inputs == 1
    if group > 1 and not by_channel:
        return _of_grouped_kernel(graph, node, dy, options)
    taps = _taps(graph, graph.op("Transpose", x, perm=[0, 2, 3, 1]), node, options, 1)
    if by_channel:
        last = graph.op("Transpose", dy, perm=[0, 2, 3, 1])
        places = graph.integers(0, 1, 2)
        found = [graph.op("ReduceSum", graph.op("Mul", seen, last), places, keepdims=0) for seen in taps]
    else:
        rows = graph.op("Reshape", graph.op("Transpose", dy, perm=[1, 0, 2, 3]), graph.integers(outputs, -1))
        found = [graph.op("MatMul", rows, graph.op("Reshape", seen, graph.integers(-1, inputs))) for seen in taps]
    stacked = graph.op("Reshape", graph.op("Concat", *found, axis=0), graph.integers(*kernel, outputs, inputs))
    return graph.op("Transpose", stacked, perm=[2, 3, 0, 1])


def _of_grouped_kernel(graph: Graph, node: onnx.NodeProto, dy: str, options: dict[str, Any]) -> str:
    """Append the gradient of a kernel with G groups: for each tap ``(G, C / G, N H W)`` times ``(G, N H W, O / G)``.

    The images are turned to channels first, ``(C, N, H, W)``.
    """
    x, weight = node.input[:2]
    outputs, inputs, *kernel = (size or 0 for size in graph.shape_of(weight))
    group = int(options["group"])
    dy = graph.op("Transpose", dy, perm=[1, 0, 2, 3])
    dy = graph.op("Reshape", dy, graph.integers(group, outputs // group, -1))
    dy = graph.op("Transpose", dy, perm=[0, 2, 1])
    rows = graph.integers(group, inputs, -1)
    taps = _taps(graph, graph.op("Transpose", x, perm=[1, 0, 2, 3]), node, options, 2)
    found = [graph.op("MatMul", graph.op("Reshape", seen, rows), dy) for seen in taps]
    stacked = graph.op("Concat", *found, axis=0)
    stacked = graph.op("Reshape", stacked, graph.integers(*kernel, group, inputs, outputs // group))
    turned = graph.op("Transpose", stacked, perm=[2, 4, 3, 0, 1])
    return graph.op("Reshape", turned, graph.integers(outputs, inputs, *kernel))


def _taps(graph: Graph, x: str, node: onnx.NodeProto, options: dict[str, Any], axis: int) -> Iterator[str]:
    """Append and yield the part of the images that each tap of a kernel reads.

    Args:
        graph: graph to append to.
        x: images, in any layout in which columns follow rows.
        node: the convolution.
        options: attributes of the convolution.
        axis: axis of the rows in ``x``.
    """
    kernel, strides, pads, dilations = _window(graph, node, options)
    rows, columns = graph.shape_of(node.output[0])[2:]
    if rows is None or columns is None:
        raise BadInput("the operator Conv on images whose size is not fixed has no gradient here")
    if any(pads):
        ends = [[0] * 4, [0] * 4]
        for end, sizes in zip(ends, (pads[:2], pads[2:]), strict=True):
            end[axis : axis + 2] = sizes
        x = graph.op("Pad", x, graph.integers(*ends[0], *ends[1]))
    if kernel == strides == [1, 1]:
        yield x
        return
    axes = graph.integers(axis, axis + 1)
    for i in range(kernel[0]):
        for j in range(kernel[1]):
            first = (i * dilations[0], j * dilations[1])
            stop = (first[0] + (rows - 1) * strides[0] + 1, first[1] + (columns - 1) * strides[1] + 1)
            cut = (graph.integers(*first), graph.integers(*stop), axes, graph.integers(*strides))
            yield graph.op("Slice", x, *cut)  # the caller's product comes next, so that each slice is freed at once


@rule("ConvTranspose")
def _transposed_conv(graph: Graph, node: onnx.NodeProto, dy: str, matters: Sequence[bool]) -> list[str | None]:
    """Use the convolution whose transpose this operator is, and the gradient of that convolution's kernel."""
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
            # A window that is cut at the far border, as with ceil_mode, equals one that reaches into more padding.
            pads=[*pads[:2], *(pads[2 + axis] - min(missing[axis], 0) for axis in (0, 1))],
            output_padding=[max(size, 0) for size in missing],
        )
    ]


@rule("MaxPool")
def _max_pool(graph: Graph, node: onnx.NodeProto, dy: str, matters: Sequence[bool]) -> list[str | None]:
    """Add each gradient at the place of its maximum."""
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
    """Return kernel size, strides, pads (before, then after) and dilations of a convolution over two axes."""
    kernel = [int(size) for size in graph.shape_of(node.input[1])[2:] if size]
    if len(kernel) != 2 or options.get("auto_pad", b"NOTSET") != b"NOTSET":
        raise BadInput("the operator Conv that is not over two axes with given padding has no gradient here")
    return (
        kernel,
        list(options.get("strides", (1, 1))),
        list(options.get("pads", (0, 0, 0, 0))),
        list(options.get("dilations", (1, 1))),
    )
