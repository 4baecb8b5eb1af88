"""Trace a network with ``torch.fx`` into one graph that is right in training and in inference mode."""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx.node import map_aggregate

from tbft.errors import BadInput

MODE = "training"
"""Name of the attribute by which a graph reads the mode."""
_ROUNDS = 12
"""Largest number of attempts, each with more modules kept untraced because they differ between the two modes."""
_CONTAINERS = (nn.Module, nn.Sequential, nn.ModuleList, nn.ModuleDict)


class Caller(nn.Module):
    """Calls a network with images alone, so that optional arguments of its ``forward`` are not traced."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        """Run the network on images ``(N, C, H, W)``."""
        return self.network(x)


@dataclass
class Trace:
    """The trace of a network.

    Attributes:
        graph: operations of the network, with ``network.`` before the names of modules, parameters and buffers. A
            function of the network (not a module) that depends on the mode reads the attribute ``training``.
        constants: tensors that ``forward`` creates, by attribute name.
    """

    graph: fx.Graph
    constants: dict[str, Tensor] = field(default_factory=dict)


def trace_network(network: nn.Module) -> Trace:
    """Trace a network in both modes and merge the two graphs into one.

    A module is kept whole, as one operation that runs the module itself, if its ``forward`` cannot be traced (its
    control flow depends on data) or has other operations in training than in inference.

    Raises:
        BadInput: if that is true of the network's own ``forward``.
    """
    whole: set[str] = set()
    modes = [(module, module.training) for module in network.modules()]
    try:
        for _ in range(_ROUNDS):
            training, inference = (_trace(network.train(mode), whole) for mode in (True, False))
            differing = _merge_modes(training.graph, inference.graph)
            if not differing:
                return training
            if "network" in differing:
                raise BadInput(
                    f"{_name(network)} cannot be traced, for its own forward does other things in training than in "
                    "inference: name the modules of each block by hand (blocks=)"
                )
            whole |= differing
    finally:
        for module, mode in modes:
            module.training = mode
    raise BadInput(f"{_name(network)} cannot be traced the same in training and in inference: name blocks= by hand")


def is_layer(module: nn.Module) -> bool:
    """Return whether a module is one of torch's own layers or derived from one; containers are not layers."""
    return any(
        kind.__module__.startswith("torch.nn.modules.") and kind not in _CONTAINERS for kind in type(module).__mro__
    )


class _Tracer(fx.Tracer):
    """A tracer that keeps modules whole which it cannot trace."""

    proxy_buffer_attributes = True

    def __init__(self, whole: set[str]) -> None:
        super().__init__()
        self.whole = whole
        self.constants: dict[str, Tensor] = {}

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Return whether a module is not traced inside: layers, and modules that are kept whole."""
        return is_layer(m) or module_qualified_name in self.whole

    def call_module(self, m: nn.Module, forward: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """Trace a module; if that fails, remove its operations again and call it as one operation."""
        depth, last = len(self.module_stack), next(iter(reversed(self.graph.nodes)))
        name = self.path_of_module(m)
        try:
            return super().call_module(m, forward, args, kwargs)
        except Exception:
            if name == "network" or self.is_leaf_module(m, name):
                raise
        while len(self.module_stack) > depth:
            self.module_stack.popitem()
        node = next(iter(reversed(self.graph.nodes)))
        while node is not last:
            before = node.prev
            if node.op != "get_attr":  # the tracer reuses these
                self.graph.erase_node(node)
            node = before
        self.whole.add(name)
        return super().call_module(m, forward, args, kwargs)

    def create_arg(self, a: Any) -> Any:
        """Store a tensor that is neither parameter nor buffer in ``constants``, not in the network."""
        of_network = isinstance(a, nn.Parameter) or not isinstance(a, Tensor)
        if of_network or any(a is buffer for buffer in self.root.buffers()):
            return super().create_arg(a)
        known = next((key for key, value in self.constants.items() if value is a), None)
        key = known or f"constant_{len(self.constants)}"
        self.constants[key] = a
        return self.create_node("get_attr", key, (), {})


def _trace(network: nn.Module, whole: set[str]) -> Trace:
    tracer = _Tracer(whole)
    try:
        with torch.no_grad():
            graph = tracer.trace(Caller(network))
    except Exception as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise BadInput(
            f"{_name(network)} cannot be traced ({reason[:160]}): name the modules of each block by hand (blocks=)"
        ) from None
    for node in reversed(graph.nodes):
        if node.op == "get_attr" and not node.users:
            graph.erase_node(node)
    return Trace(graph, tracer.constants)


def _merge_modes(training: fx.Graph, inference: fx.Graph) -> set[str]:
    """Make the training graph read the mode wherever the two graphs have different boolean constants.

    Returns:
        Names of the modules whose operations differ in other ways; if there are any, the graph is not changed.
    """
    nodes, others = list(training.nodes), list(inference.nodes)
    differing: set[str] = set()
    matcher = SequenceMatcher(None, [*map(_signature, nodes)], [*map(_signature, others)], autojunk=False)
    for kind, a, b, c, d in matcher.get_opcodes():
        if kind != "equal":
            differing |= {_module_of(node) for node in [*nodes[a:b], *others[c:d]]}
    if differing:
        return differing - {"network"} or differing
    same = dict(zip(nodes, others, strict=True))
    changed: dict[fx.Node, list[bool]] = {}
    for node, other in same.items():
        mine, theirs = _leaves(node), _leaves(other)
        mine = [same.get(value, value) if isinstance(value, fx.Node) else value for value in mine]
        flags = [not (a is b or (type(a) is type(b) and a == b)) for a, b in zip(mine, theirs, strict=False)]
        if len(mine) != len(theirs) or any(f and not isinstance(a, bool) for f, a in zip(flags, mine, strict=True)):
            differing.add(_module_of(node))
        elif any(flags):
            changed[node] = flags
    if not differing:
        for node, flags in changed.items():
            _read_mode(training, node, flags)
    return differing


def _leaves(node: fx.Node) -> list[Any]:
    """Return the arguments of an operation, unpacked from lists and slices, in a fixed order."""
    found: list[Any] = []
    map_aggregate((node.args, node.kwargs), found.append)
    return found


def _read_mode(graph: fx.Graph, node: fx.Node, flags: list[bool]) -> None:
    """Replace the flagged constants of a node: those true in training by the mode, the others by its negation."""
    flag = iter(flags)

    def read(value: Any) -> Any:
        if not next(flag):
            return value
        mode = graph.create_node("get_attr", MODE)
        return mode if value else graph.call_function(operator.not_, (mode,))

    with graph.inserting_before(node):
        args, kwargs = map_aggregate((node.args, node.kwargs), read)
    node.args, node.kwargs = args, kwargs


def _signature(node: fx.Node) -> tuple[str, Any, str]:
    return node.op, node.target, _module_of(node)


def modules_around(node: fx.Node) -> list[str]:
    """Return the names of the modules around an operation, outermost first, its own module included."""
    return [name for name, _ in node.meta.get("nn_module_stack", {}).values()]


def _module_of(node: fx.Node) -> str:
    """Return the name of the module whose ``forward`` has an operation."""
    around = modules_around(node)
    if node.op == "call_module" and around and around[-1] == node.target:
        around.pop()
    return around[-1] if around else "network"


def _name(network: nn.Module) -> str:
    return type(network).__name__
