"""Export a chain of blocks as one ONNX graph, from which all other graphs are made."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from tbft.device.runtime import Runtime, Session
from tbft.errors import BadInput
from tbft.export.graph import OPSET, Graph, Shape, attributes_of, weights_in
from tbft.models.chain import BlockChain
from tbft.models.statistics import inference_mode_of

IMAGES = "images"
_MODULES = "pkg.torch.onnx.name_scopes"


@dataclass(frozen=True)
class Forward:
    """The forward pass of a chain in inference mode.

    Attributes:
        nodes: operators in the order in which they run.
        weights: parameters and buffers by state-dict key.
        constants: other tensors that the nodes read, by name.
        shapes: shape of each tensor, by name.
        links: name of each link, which is also the name of its output tensor.
        layers: name of the module that each tensor comes from, by the tensor's name.
        image_shape: shape ``(C, H, W)`` of an image.
    """

    nodes: tuple[onnx.NodeProto, ...]
    weights: dict[str, NDArray[np.float32]]
    constants: dict[str, NDArray[np.generic]]
    shapes: dict[str, Shape]
    links: tuple[str, ...]
    layers: dict[str, str]
    image_shape: tuple[int, int, int]

    def span(self, start: str | None, stop: str) -> list[onnx.NodeProto]:
        """Copy the operators that compute the tensor ``stop`` from the input of the link ``start``.

        Where the whole network reads the number of images from the images, the copies read it from that input.

        Args:
            start: name of the first link to run; ``None`` is the first of the chain.
            stop: name of a tensor, such as a link's output.

        Raises:
            BadInput: if the operators also read the images, so that the network cannot be cut there.
        """
        entry = self.entry(start)
        made_by = {name: node for node in self.nodes for name in node.output}
        needed: set[str] = set()
        wanted = [stop]
        while wanted:
            name = wanted.pop()
            if name in needed or name == entry or name in self.weights or name in self.constants:
                continue
            needed.add(name)
            if name == IMAGES:
                raise BadInput(f"the network cannot be cut before {start}: what comes after it reads the images again")
            if not _counts_images(made_by.get(name)):
                wanted += [each for each in made_by[name].input if each]
        nodes = []
        for node in self.nodes:
            if needed.intersection(node.output):
                copy = onnx.NodeProto()
                copy.CopyFrom(node)
                if _counts_images(node):
                    copy.input[0] = entry
                nodes.append(copy)
        return nodes

    def entry(self, start: str | None) -> str:
        """Return the name of the tensor that enters the link ``start``; ``None`` is the first of the chain."""
        position = self.links.index(start) if start else 0
        return self.links[position - 1] if position else IMAGES

    def graph(self) -> Graph:
        """Make an empty graph with this network's weights, constants and shapes."""
        graph = Graph(self.weights, self.shapes)
        graph.constants.update(self.constants)
        return graph

    def open(
        self, graph: bytes, *, repeated: bool = False, more: Mapping[str, NDArray[np.generic]] | None = None
    ) -> Session:
        """Open a graph of this network in onnxruntime, on one thread.

        Args:
            graph: serialized graph.
            repeated: whether the graph will run many times (see ``Runtime.open``).
            more: tensors that the graph reads besides the network's weights, by name.

        Raises:
            BadInput: if onnxruntime cannot open the graph.
        """
        try:
            return Runtime(1).open(graph, {**self.weights, **(more or {})}, weights_in(graph), repeated=repeated)
        except BadInput:
            raise
        except Exception as error:  # onnxruntime raises many kinds of exceptions
            raise BadInput(f"onnxruntime does not take this network: {str(error).splitlines()[0]}") from error


class _EveryLink(nn.Module):
    """The chain as a module that returns the output of each link."""

    def __init__(self, chain: BlockChain) -> None:
        super().__init__()
        # torch.export looks up modules by name, and for a module called "blocks" would find the chain's property.
        self.chain = nn.Module()
        self.chain._modules.update(chain._modules)
        self.chain._parameters.update(chain._parameters)
        self.chain._buffers.update(chain._buffers)
        self._run = (chain,)  # in a tuple, so that the chain is not registered as a second child

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        outputs = []
        (chain,) = self._run
        links = chain.links
        for link, following in zip(links, (*links[1:], None), strict=True):
            x = chain(x, start=link, stop=following)
            outputs.append(x)
        return tuple(outputs)


def export_forward(chain: BlockChain) -> Forward:
    """Export the forward pass of a chain in inference mode.

    Onnxscript's optimiser is not used, because it removes the addition of a small number as if it were zero (seen in
    0.7.2); only constants are folded.

    Raises:
        BadInput: if torch cannot express the network in ONNX; the message says why.
    """
    import onnx_ir
    from onnx_ir.passes import common
    from onnxscript.optimizer import fold_constants

    from tbft.export.attention import attention

    images = torch.randn(2, chain.channels, chain.image_size, chain.image_size)
    with inference_mode_of(chain), _quiet(), sdpa_kernel(SDPBackend.MATH):  # others make views that do not export
        try:
            program = torch.onnx.export(
                _EveryLink(chain),
                (images,),
                dynamo=True,
                optimize=False,
                verbose=False,
                opset_version=OPSET,
                dynamic_shapes=({0: torch.export.Dim.DYNAMIC},),
                input_names=[IMAGES],
                output_names=list(chain.links),
                custom_translation_table={torch.ops.aten.scaled_dot_product_attention.default: attention},
            )
        except Exception as error:  # torch.onnx raises many kinds of exceptions
            why = str(error.__cause__ or error).strip() or type(error.__cause__ or error).__name__
            raise BadInput(f"torch cannot write this network as ONNX: {why.splitlines()[0]}") from error
    assert program is not None
    model = program.model
    fold_constants(model, onnx_shape_inference=True)
    common.IdentityEliminationPass()(model)
    common.RemoveUnusedNodesPass()(model)
    proto = onnx_ir.to_proto(model)
    return _read(proto, chain)


def _read(model: onnx.ModelProto, chain: BlockChain) -> Forward:
    state = {key: value.detach().cpu().numpy() for key, value in chain.state_dict().items()}
    weights = {key: np.ascontiguousarray(v) for key, v in state.items() if v.dtype == np.float32}
    keys = _keys_by_name(chain, weights)
    names: dict[str, str] = {}
    constants: dict[str, NDArray[np.generic]] = {}
    for initializer in model.graph.initializer:
        if key := keys.get(initializer.name.removeprefix("chain.")):
            names[initializer.name] = key
        else:
            constants[initializer.name] = numpy_helper.to_array(initializer)
    nodes, shapes, layers = [], {IMAGES: (None, *_sizes(model.graph.input[0])[1:])}, {}
    for value in (*model.graph.value_info, *model.graph.output):
        shapes[value.name] = _sizes(value)
    for node in model.graph.node:
        layer = _layer(node)
        if node.op_type == "Constant":
            constants[node.output[0]] = _constant(node)
            continue
        copy = onnx.NodeProto(op_type=node.op_type, name=node.name, domain=node.domain)
        copy.input.extend(names.get(name, name) for name in node.input)
        copy.output.extend(node.output)
        copy.attribute.extend(node.attribute)
        if copy.op_type == "Conv" and len(copy.input) == 3 and not constants.get(copy.input[2], np.ones(1)).any():
            del copy.input[2]  # torch writes a bias of zeros for a convolution without bias
        nodes.append(copy)
        layers.update(dict.fromkeys(node.output, layer))
    size = chain.image_size
    channels = shapes[IMAGES][1]
    assert channels is not None
    return Forward(tuple(nodes), weights, constants, shapes, chain.links, layers, (channels, size, size))


def _keys_by_name(chain: BlockChain, weights: Mapping[str, NDArray[np.float32]]) -> dict[str, str]:
    """Return the state-dict key of each tensor by all its names; a tensor of a shared module has several names."""
    tensors = [*chain.named_parameters(remove_duplicate=False), *chain.named_buffers(remove_duplicate=False)]
    key_of = {id(value): name for name, value in tensors if name in weights}
    return {name: key_of[id(value)] for name, value in tensors if id(value) in key_of}


def _constant(node: onnx.NodeProto) -> NDArray[np.generic]:
    ((kind, value),) = attributes_of(node).items()
    if kind == "value":
        return numpy_helper.to_array(value)
    return np.asarray(value, np.float32 if kind.startswith("value_float") else np.int64)


def _counts_images(node: onnx.NodeProto | None) -> bool:
    """Return whether a node reads nothing but the number of images."""
    if node is None or node.op_type != "Shape" or node.input[0] != IMAGES:
        return False
    attributes = attributes_of(node)
    return attributes.get("start", 0) == 0 and attributes.get("end") == 1


def _layer(node: onnx.NodeProto) -> str:
    scopes = next((entry.value for entry in node.metadata_props if entry.key == _MODULES), "[]")
    names = [name.strip(" '\"") for name in scopes.strip("[]").split(",")]
    modules = [name for name in names if name.startswith("chain.")]
    return (modules[-1] if modules else names[-1]).removeprefix("chain.")


def _sizes(value: onnx.ValueInfoProto) -> Shape:
    return tuple(d.dim_value if d.HasField("dim_value") else None for d in value.type.tensor_type.shape.dim)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Suppress torch.onnx's progress reports and deprecation warnings; its errors are exceptions."""
    level = logging.getLogger("torch.onnx").level
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            logging.getLogger("torch.onnx").setLevel(level)
