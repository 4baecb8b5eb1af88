"""Graphs that train one block: a training step on the block's input, and block and suffix in inference mode."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx

from tbft.errors import BadInput
from tbft.export.batch_norm import append_nodes
from tbft.export.forward import Forward
from tbft.export.gradient import append_gradient
from tbft.export.graph import BatchStatistics, Graph
from tbft.export.inference import running_statistics
from tbft.export.optimizer import Optimizer


@dataclass(frozen=True)
class TrainedKeys:
    """State-dict keys of the tensors of a block that are trained, each group of which is one vector.

    Attributes:
        parameters: keys of the parameters that train, in the order of their vector.
        statistics: keys of the running statistics of the block's BatchNorm layers, in the order of their vector.
    """

    parameters: tuple[str, ...]
    statistics: tuple[str, ...]


def training_step(
    forward: Forward, block: str, parameters: Sequence[str], optimizer: Optimizer
) -> tuple[bytes, TrainedKeys]:
    """Make the graph of one training step of a block with cross-entropy; the links after it are not changed.

    BatchNorm layers of the block normalise by the batch and update their running averages; those after it do not.

    Args:
        forward: forward pass of the network.
        block: name of the block.
        parameters: state-dict keys of the parameters that train; those that the block does not read are left out.
        optimizer: optimiser that makes the step.

    Returns:
        The graph (inputs ``parameters``, ``moment1``, ..., ``statistics``, ``features``, ``labels``, ``rate``,
        ``step``; outputs ``new_parameters``, ``new_moment1``, ..., ``new_statistics``, ``loss``; no statistics
        without BatchNorm), and the keys of the tensors in its vectors.

    Raises:
        BadInput: if an operator has no gradient here, which the message names with its layer, or nothing can train.
    """
    graph = forward.graph()
    entry = forward.entry(block)
    features = graph.add_input("features", np.float32, forward.shapes[entry])
    nodes = forward.span(block, forward.links[-1])
    own = {name for node in forward.span(block, block) for name in node.input}
    parameters = [key for key in parameters if key in own]  # torch does not train unused parameters either
    if not parameters:
        raise BadInput(f"{block} reads no parameters of its own: there is nothing to train")
    norms = [node for node in nodes if node.op_type == "BatchNormalization"]
    statistics = [key for node in norms for key in node.input[3:5] if key in own and key in forward.weights]
    if statistics:
        graph.add_input("statistics", np.float32, (sum(forward.weights[key].size for key in statistics),))
    read = append_vector(graph, "parameters", parameters)
    nodes = [rename_inputs(node, {**read, entry: features}) for node in nodes]
    seen = append_nodes(graph, nodes, own.__contains__)
    loss, seed = _cross_entropy(graph, forward.links[-1])
    gradients = append_gradient(graph, nodes, {forward.links[-1]: seed}, list(read.values()), forward.layers)
    outputs = append_update(graph, optimizer, [gradients[name] for name in read.values()])
    if statistics:
        graph.op("Identity", _average(graph, list(seen.values())), output="new_statistics")
        outputs["new_statistics"] = np.float32
    graph.op("Identity", loss, output="loss")
    return graph.serialize({**outputs, "loss": np.float32}), TrainedKeys(tuple(parameters), tuple(statistics))


def evaluation(forward: Forward, block: str, trained: TrainedKeys) -> bytes:
    """Make the graph from ``features``, a block's input, to ``logits`` in inference mode.

    The block's weights are the inputs ``parameters`` and ``statistics``, as vectors.

    Args:
        forward: forward pass of the network.
        block: name of the block.
        trained: keys of the tensors in the vectors.
    """
    graph = forward.graph()
    entry = forward.entry(block)
    features = graph.add_input("features", np.float32, forward.shapes[entry])
    read = append_vector(graph, "parameters", trained.parameters)
    if trained.statistics:
        read |= append_vector(graph, "statistics", trained.statistics)
    graph.nodes += [rename_inputs(node, {**read, entry: features}) for node in forward.span(block, forward.links[-1])]
    graph.op("Identity", forward.links[-1], output="logits")
    return graph.serialize({"logits": np.float32})


def append_vector(graph: Graph, vector: str, keys: Sequence[str]) -> dict[str, str]:
    """Add an input that holds some weights as one vector, and split it.

    Args:
        graph: graph to append to.
        vector: name of the input.
        keys: state-dict keys of the weights, in the order of the vector.

    Returns:
        The name of each weight's tensor, in the weight's shape, by key.
    """
    values = [graph.weights[key] for key in keys]
    graph.add_input(vector, np.float32, (sum(value.size for value in values),))
    pieces = graph.split(vector, [value.size for value in values])
    return {
        key: graph.op("Reshape", piece, graph.integers(*value.shape), shape=value.shape)
        for key, piece, value in zip(keys, pieces, values, strict=True)
    }


def append_update(graph: Graph, optimizer: Optimizer, gradients: Sequence[str]) -> dict[str, type[np.generic]]:
    """Append the optimiser's step on the input ``parameters``.

    Args:
        graph: graph to append to.
        optimizer: optimiser that makes the step.
        gradients: names of the parameters' gradients, in the order of the vector.

    Returns:
        Types of the outputs that it makes, by name.
    """
    (count,) = graph.shape_of("parameters")
    rate, step = (graph.add_input(name, np.float64, ()) for name in ("rate", "step"))
    moments = [graph.add_input(f"moment{i + 1}", np.float32, (count,)) for i in range(optimizer.moments)]
    made, new_moments = optimizer.append(graph, "parameters", graph.flatten(gradients), moments, rate, step)
    graph.rename(made, "new_parameters")
    for name, moment in zip(moments, new_moments, strict=True):
        graph.rename(moment, f"new_{name}")
    return dict.fromkeys(["new_parameters", *(f"new_{name}" for name in moments)], np.float32)


def rename_inputs(node: onnx.NodeProto, names: Mapping[str, str]) -> onnx.NodeProto:
    """Copy a node, with other names for some of its inputs."""
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    for i, name in enumerate(copy.input):
        copy.input[i] = names.get(name, name)
    return copy


def _cross_entropy(graph: Graph, logits: str) -> tuple[str, str]:
    """Append the mean cross-entropy over the batch, and its gradient with respect to the logits ``(N, C)``."""
    classes = graph.shape_of(logits)[1]
    if classes is None:
        raise BadInput("the network makes logits of no fixed number of classes: no block of it can be trained here")
    labels = graph.add_input("labels", np.int64, (None,))
    target = graph.op("OneHot", labels, graph.integers(classes), graph.constant([0.0, 1.0]))
    log = graph.op("LogSoftmax", logits, axis=1)
    images = graph.op("Cast", graph.op("Shape", logits, start=0, end=1), to=onnx.TensorProto.FLOAT)
    hits = graph.op("ReduceSum", graph.op("Mul", target, log), graph.integers(0, 1), keepdims=0)
    loss = graph.op("Neg", graph.op("Div", hits, graph.op("Reshape", images, graph.integers())))
    return loss, graph.op("Div", graph.op("Sub", graph.op("Exp", log), target), images, shape=graph.shape_of(logits))


def _average(graph: Graph, seen: list[BatchStatistics]) -> str:
    """Append the running averages after this batch, as one vector."""
    tensors, keys = running_statistics(seen)
    shares = [share for layer in seen for share in (layer.momentum, layer.momentum)]
    vector = np.concatenate([np.full(graph.weights[k].size, s) for k, s in zip(keys, shares, strict=True)])
    share = graph.constant(vector if len(set(shares)) > 1 else shares[0])
    change = graph.op("Sub", graph.flatten(tensors), "statistics")
    return graph.op("Add", "statistics", graph.op("Mul", change, share))
