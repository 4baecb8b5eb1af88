"""Graphs of the forward pass in 8-bit whole numbers: one that predicts, and one that measures ranges to calibrate it.

Convolutions are quantised, together with the BatchNorm and the ReLU after them; everything else, such as the head,
computes in float. onnxruntime recognises a convolution between DequantizeLinear and QuantizeLinear and runs it on whole
numbers.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from tbft.device.calibration import Comparison, ranges_of
from tbft.device.int8 import Layer, names_of, quantised, range_names
from tbft.device.runtime import Session
from tbft.errors import BadInput
from tbft.export import inference
from tbft.export.cost import multiply_adds
from tbft.export.forward import Forward
from tbft.export.graph import Graph, attributes_of
from tbft.export.inference import append_pixels
from tbft.export.training import rename_inputs

LEAST_SHARE = 0.5
"""Least share of convolutions in the multiply-adds; with a smaller share quantising them saves little."""

LEAST_IMAGES = 100
"""Least number of source images; with fewer a comparison of int8 with float says little."""

_IMAGES_AT_ONCE = 100


@dataclass(frozen=True)
class Int8Plan:
    """The parts of a network that are quantised.

    Attributes:
        layers: quantised convolutions.
        exits: name of each layer's output tensor, after its BatchNorm and ReLU.
        replaced: names of the tensors between a convolution and its exit, which no node makes any more.
        tensors: names of the activations with a range, in the order in which they are numbered.
    """

    layers: tuple[Layer, ...]
    exits: tuple[str, ...]
    replaced: frozenset[str]
    tensors: tuple[str, ...]


def plan_int8(forward: Forward) -> Int8Plan:
    """Choose what is quantised: every convolution over two axes whose weight and bias are tensors of the state dict."""
    readers = Counter(name for node in forward.nodes for name in set(node.input))
    reader_of = {name: node for node in forward.nodes for name in node.input}
    numbers: dict[str, int] = {}
    layers, exits, replaced = [], [], set()

    def only_reader(name: str) -> onnx.NodeProto | None:
        return reader_of[name] if readers[name] == 1 and name not in forward.links else None

    for node in forward.nodes:
        if not _is_plain_convolution(node, forward):
            continue
        made, norm, epsilon = node.output[0], (), 0.0
        following = only_reader(made)
        if following is not None and following.op_type == "BatchNormalization":
            norm, epsilon = tuple(following.input[1:5]), float(attributes_of(following).get("epsilon", 1e-5))
            replaced.add(made)
            made = following.output[0]
            following = only_reader(made)
        if following is not None and following.op_type == "Relu":
            replaced.add(made)
            made = following.output[0]
        entry = numbers.setdefault(node.input[0], len(numbers))
        numbers.setdefault(made, len(numbers))
        bias = node.input[2] if len(node.input) > 2 else None
        layers.append(Layer(node.input[1], bias, norm, epsilon, entry))
        exits.append(made)
    return Int8Plan(tuple(layers), tuple(exits), frozenset(replaced), tuple(numbers))


def int8_network(
    forward: Forward, plan: Int8Plan, ranges: NDArray[np.floating], mean: Sequence[float], std: Sequence[float]
) -> bytes:
    """Make the quantised graph from pixels to ``logits`` in inference mode.

    The graph reads the tensors that ``tbft.device.int8.quantised`` makes of weights and ranges, by their names.

    Args:
        forward: forward pass of the network.
        plan: parts that are quantised.
        ranges: least and largest number ``(T, 2)`` that each activation in ``plan.tensors`` can hold.
        mean: mean for normalising images, on the scale 0 to 1.
        std: standard deviation for normalising images, on the same scale.
    """
    made = quantised(plan.layers, ranges, forward.weights)
    graph = Graph({**forward.weights, **made}, forward.shapes)
    graph.constants.update(forward.constants)
    append_pixels(graph, forward, mean, std)
    numbers = {name: i for i, name in enumerate(plan.tensors)}
    layer_of = {layer.weight: (layer, exit_) for layer, exit_ in zip(plan.layers, plan.exits, strict=True)}
    in_bytes: dict[str, str] = {}  # name of each tensor's quantised version
    renamed: dict[str, str] = {}

    def rounded(name: str) -> str:
        if name not in in_bytes:
            scale_and_zero = range_names(numbers[name])
            whole = graph.op("QuantizeLinear", renamed.get(name, name), *scale_and_zero)
            in_bytes[name] = graph.op("DequantizeLinear", whole, *scale_and_zero)
        return in_bytes[name]

    for node in forward.nodes:
        if node.op_type == "Conv" and node.input[1] in layer_of:
            layer, made_name = layer_of[node.input[1]]
            names = names_of(layer)
            weight = graph.op("DequantizeLinear", names["weight"], names["scale"], axis=0)
            bias = graph.op("DequantizeLinear", names["bias"], names["bias_scale"], axis=0)
            output = graph.name("conv")
            convolution = onnx.helper.make_node("Conv", [rounded(node.input[0]), weight, bias], [output])
            convolution.attribute.extend(node.attribute)
            graph.nodes.append(convolution)
            renamed[made_name] = output
            renamed[made_name] = rounded(made_name)  # after a ReLU the range begins at 0, which replaces the ReLU
        elif not (plan.replaced.intersection(node.input) and node.output[0] in {*plan.replaced, *plan.exits}):
            graph.nodes.append(rename_inputs(node, renamed))
    head = forward.links[-1]
    graph.op("Identity", renamed.get(head, head), output="logits")
    return graph.serialize({"logits": np.float32})


def ranges_network(forward: Forward, plan: Int8Plan, mean: Sequence[float], std: Sequence[float]) -> bytes:
    """Make the graph from pixels to ``logits`` and ``ranges``, which calibrates the quantised graph.

    ``ranges`` is ``(T, 2, N)``: the least and the largest number of each of T activations in each of N images.
    """
    graph = forward.graph()
    append_pixels(graph, forward, mean, std)
    graph.nodes += forward.span(None, forward.links[-1])
    graph.op("Identity", forward.links[-1], output="logits")
    ends = []
    for name in plan.tensors:
        axes = graph.integers(*range(1, len(graph.shape_of(name))))
        for kind in ("ReduceMin", "ReduceMax"):
            ends.append(graph.op("Reshape", graph.op(kind, name, axes, keepdims=0), graph.integers(1, -1)))
    stacked = graph.op("Concat", *ends, axis=0)
    graph.op("Reshape", stacked, graph.integers(len(plan.tensors), 2, -1), output="ranges")
    return graph.serialize({"logits": np.float32, "ranges": np.float32})


def make_int8(
    forward: Forward,
    mean: Sequence[float],
    std: Sequence[float],
    source: NDArray[np.uint8] | None,
    labels: NDArray[np.int64] | None,
) -> tuple[dict[str, bytes], dict[str, Any]]:
    """Make the int8 graphs, calibrate them on source images, and compare int8 with float.

    Args:
        forward: forward pass of the network.
        mean: mean for normalising images, on the scale 0 to 1.
        std: standard deviation for normalising images, on the same scale.
        source: source images ``(N, C, H, W)``, uint8.
        labels: class indices ``(N,)``; without them predictions are compared instead of accuracies.

    Returns:
        Graphs by name, and their entry of the manifest.

    Raises:
        BadInput: if there are too few images, convolutions are too small a share, or int8 is less accurate than float.
    """
    if source is None or len(source) < LEAST_IMAGES:
        given = 0 if source is None else len(source)
        raise BadInput(f"int8 is calibrated on source pictures, and {given} are given: give --source, {LEAST_IMAGES}")
    share = multiply_adds(forward, ["Conv"]) / multiply_adds(forward)
    if share < LEAST_SHARE:
        raise BadInput(
            f"int8 quantises convolutions, and these are {100 * share:.0f} % of this network: export without --int8"
        )
    plan = plan_int8(forward)
    graphs = {"ranges": ranges_network(forward, plan, mean, std)}
    batches = np.array_split(source, -(-len(source) // _IMAGES_AT_ONCE))
    parts, _ = _run(forward.open(graphs["ranges"]), batches)
    ranges = ranges_of(np.concatenate([part["ranges"] for part in parts], axis=2))
    graphs["int8"] = int8_network(forward, plan, ranges, mean, std)
    made = quantised(plan.layers, ranges, forward.weights)
    floats, float_seconds = _run(forward.open(inference.whole_network(forward, mean, std)), batches)
    int8s, int8_seconds = _run(forward.open(graphs["int8"], more=made), batches)
    logits = [np.concatenate([part["logits"] for part in parts]) for parts in (floats, int8s)]
    compared = Comparison.of(logits[0], logits[1], labels)
    if not compared.holds:
        raise BadInput(f"int8 is not as good as float on the source pictures ({compared}): export without --int8")
    about = {
        "layers": [asdict(layer) for layer in plan.layers],
        "ranges": ranges.tolist(),
        "compared": asdict(compared),
        "cpu_share": int8_seconds / float_seconds,
    }
    return graphs, about


def _run(session: Session, batches: Sequence[NDArray[np.uint8]]) -> tuple[list[dict[str, NDArray[Any]]], float]:
    """Run a graph on batches, and return its outputs and the CPU-seconds."""
    began = time.process_time()
    made = [session(pixels=batch) for batch in batches]
    return made, time.process_time() - began


def _is_plain_convolution(node: onnx.NodeProto, forward: Forward) -> bool:
    """Return whether a node is a convolution over two axes whose weight and bias are tensors of the state dict."""
    if node.op_type != "Conv" or any(name and name not in forward.weights for name in node.input[1:]):
        return False
    return forward.weights[node.input[1]].ndim == 4
