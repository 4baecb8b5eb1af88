"""Build ONNX graphs: nodes, named tensors, and weights that are stored outside the graph."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from tbft.errors import BadInput

OPSET = 20
"""Operator set of every graph; onnxruntime 1.18 and later support it."""

WEIGHTS_FILE = "weights"
"""File that a graph names for its weights; the reader passes the weights instead of opening such a file."""

Shape = tuple[int | None, ...]
"""Shape of a tensor; ``None`` is the number of images, which is known when the graph runs."""


@dataclass(frozen=True)
class BatchStatistics:
    """Statistics of a batch in a BatchNorm layer, as names of tensors.

    Attributes:
        mean_key, variance_key: state-dict keys of the layer's running statistics.
        mean: tensor of means ``(C,)``.
        variance: tensor of biased variances ``(C,)``, with which the layer normalises.
        unbiased: tensor of unbiased variances ``(C,)``, for the running average.
        centred: tensor of the layer's input minus its mean.
        momentum: share of the batch in the new running average.
        epsilon: number that the layer adds to the variance.
    """

    mean_key: str
    variance_key: str
    mean: str
    variance: str
    unbiased: str
    centred: str
    momentum: float
    epsilon: float


class Graph:
    """A graph to which nodes are appended in the order in which they run; tensors are given by their names.

    Args:
        weights: tensors that are stored in the bundle once for all graphs, by name; any node may read them.
        shapes: shapes of tensors that nodes will make, as far as they are known, by name.
    """

    def __init__(self, weights: Mapping[str, NDArray[Any]], shapes: Mapping[str, Shape] | None = None) -> None:
        self.weights = weights
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, NDArray[Any]] = {}
        self.inputs: list[onnx.ValueInfoProto] = []
        self.shapes: dict[str, Shape] = dict(shapes or {})
        self.batch_statistics: dict[str, BatchStatistics] = {}
        self._made = 0

    def add_input(self, name: str, kind: type[np.generic], shape: Shape) -> str:
        """Add an input to the graph and return its name."""
        sizes = ["images" if size is None else size for size in shape]
        self.inputs.append(helper.make_tensor_value_info(name, _type(kind), sizes))
        self.shapes[name] = shape
        return name

    def constant(self, value: Any, kind: type[np.generic] = np.float32) -> str:
        """Store a small tensor in the graph itself, equal ones once, and return its name."""
        array = np.asarray(value, kind)
        for name, known in self.constants.items():
            if known.dtype == array.dtype and known.shape == array.shape and np.array_equal(known, array):
                return name
        name = self.name("constant")
        self.constants[name] = array
        self.shapes[name] = array.shape
        return name

    def integers(self, *values: int) -> str:
        """Store a one-dimensional int64 constant, such as axes or sizes, and return its name."""
        return self.constant(values, np.int64)

    def name(self, stem: str) -> str:
        """Return a name, beginning with ``stem``, that no tensor of this graph has yet."""
        self._made += 1
        return f"{stem}~{self._made}"

    def op(self, kind: str, *inputs: str, output: str = "", shape: Shape | None = None, **attributes: Any) -> str:
        """Append an operator with one output and return the output's name.

        Args:
            kind: name of the operator.
            inputs: names of the input tensors.
            output: name of the output; by default a new one.
            shape: shape of the output, if it is known and needed later.
            attributes: attributes of the operator.
        """
        output = output or self.name(kind.lower())
        self.nodes.append(helper.make_node(kind, list(inputs), [output], **attributes))
        if shape is not None:
            self.shapes[output] = shape
        return output

    def rename(self, tensor: str, name: str) -> None:
        """Rename a tensor in all nodes, such as to the name of an output; nothing is copied."""
        for node in self.nodes:
            for names in (node.input, node.output):
                for i, known in enumerate(names):
                    if known == tensor:
                        names[i] = name

    def split(self, vector: str, sizes: Sequence[int]) -> list[str]:
        """Split a vector into pieces of the given lengths and return their names."""
        names = [self.name("piece") for _ in sizes]
        self.nodes.append(helper.make_node("Split", [vector, self.integers(*sizes)], names, axis=0))
        return names

    def flatten(self, tensors: Iterable[str]) -> str:
        """Concatenate all elements of some tensors to one vector and return its name."""
        flat = [self.op("Reshape", tensor, self.integers(-1)) for tensor in tensors]
        return self.op("Concat", *flat, axis=0) if len(flat) > 1 else flat[0]

    def shape_of(self, name: str) -> Shape:
        """Return the shape of a tensor, as far as it is known before the graph runs.

        Raises:
            BadInput: if nothing is known about the shape.
        """
        if name in self.weights:
            return self.weights[name].shape
        if name in self.constants:
            return self.constants[name].shape
        if name not in self.shapes:
            raise BadInput(f"the shape of the tensor {name} is not known: what needs it cannot be written as ONNX")
        return self.shapes[name]

    def serialize(self, outputs: Mapping[str, type[np.generic]]) -> bytes:
        """Return the graph as the content of an ONNX file that refers to its weights by name.

        Args:
            outputs: type of each output by its name.
        """
        needed = {name for node in self.nodes for name in node.input}
        initializers = [_external(name, self.weights[name]) for name in self.weights if name in needed]
        initializers += [numpy_helper.from_array(v, name) for name, v in self.constants.items() if name in needed]
        results = [helper.make_tensor_value_info(name, _type(kind), None) for name, kind in outputs.items()]
        graph = helper.make_graph(self.nodes, "tbft", self.inputs, results, initializers)
        return helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10
        ).SerializeToString()


def weights_in(graph: bytes) -> list[str]:
    """Return the names of the weights that a serialized graph reads, which must be passed when it is opened."""
    initializers = onnx.load_from_string(graph).graph.initializer
    return [tensor.name for tensor in initializers if tensor.data_location == TensorProto.EXTERNAL]


def attributes_of(node: onnx.NodeProto) -> dict[str, Any]:
    """Return a node's attributes as Python values, by name."""
    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}


def _type(kind: type[np.generic]) -> int:
    return helper.np_dtype_to_tensor_dtype(np.dtype(kind))


def _external(name: str, value: NDArray[Any]) -> TensorProto:
    tensor = TensorProto(name=name, data_type=_type(value.dtype.type), dims=value.shape)
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=WEIGHTS_FILE)
    return tensor
