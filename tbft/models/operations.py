"""The operations of a traced network, with the tensors, parameters and statistics of each."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _NormBase

from tbft.models.statistics import inference_mode_of
from tbft.models.tracing import Caller, Trace


class Operations:
    """The operations of a traced network in order, with the tensors between them.

    Args:
        network: the network.
        trace: trace of the network.
        images: images ``(N, C, H, W)`` to run it on, to observe shapes.

    Attributes:
        nodes: operations in order.
        index: index of each operation in ``nodes``.
        values: tensor that each operation made from the images; ``None`` if it made no tensor.
        of_images: for each operation, whether it depends on the images; others can run in any link that needs them.
        parameters: for each operation, names of the network's parameters that it reads.
        statistics: for each operation, names of the norms with running statistics that it runs.
    """

    def __init__(self, network: nn.Module, trace: Trace, images: Tensor) -> None:
        self.network, self.nodes = network, list(trace.graph.nodes)
        self.index = {node: i for i, node in enumerate(self.nodes)}
        self.values = _observe(network, trace, images)
        self.of_images: list[bool] = []
        for node in self.nodes:
            sources = [self.of_images[self.index[source]] for source in node.all_input_nodes]
            self.of_images.append(node.op == "placeholder" or any(sources))
        names = {id(parameter): name for name, parameter in network.named_parameters()}
        self.parameters = [tuple(dict.fromkeys(names[id(p)] for p in self._read_by(node))) for node in self.nodes]
        norms = {id(part): name for name, part in network.named_modules() if _follows_batches(part)}
        self.statistics = [tuple(norms[i] for i in self._modules_of(node) if i in norms) for node in self.nodes]

    def module(self, node: fx.Node) -> nn.Module | None:
        """Return the module that an operation runs; ``None`` if it runs none."""
        return self.network.get_submodule(name_inside(node)) if node.op == "call_module" else None

    def _read_by(self, node: fx.Node) -> Iterator[nn.Parameter]:
        module = self.module(node)
        if module is not None:
            yield from module.parameters()
        elif node.op == "get_attr" and str(node.target).startswith("network."):
            value = operator.attrgetter(name_inside(node))(self.network)
            if isinstance(value, nn.Parameter):
                yield value

    def _modules_of(self, node: fx.Node) -> list[int]:
        module = self.module(node)
        return [id(part) for part in module.modules()] if module is not None else []

    def alive(self) -> list[list[int]]:
        """Return for each operation the indices of image-dependent operations whose results are needed after it."""
        last = [max((self.index[user] for user in node.users), default=-1) for node in self.nodes]
        needed: list[int] = []
        living: list[list[int]] = []
        for i in range(len(self.nodes)):
            needed = [j for j in [*needed, i] if last[j] > i and self.of_images[j]]
            living.append(needed)
        return living

    def span(self, first: int, last: int) -> list[fx.Node]:
        """Return the operations of a link in order.

        These are the image-dependent operations from index ``first`` to ``last``, and all others that they need.
        """
        needed: set[fx.Node] = set()
        pending = [node for i, node in enumerate(self.nodes) if first <= i <= last and self.of_images[i]]
        while pending:
            node = pending.pop()
            if node not in needed:
                needed.add(node)
                pending += [source for source in node.all_input_nodes if not self.of_images[self.index[source]]]
        return sorted(needed, key=self.index.__getitem__)

    def ends_with(self, function: str) -> bool:
        """Whether the last operation is this function, such as ``sigmoid``, as a module, a function or a method."""
        last = self.nodes[-1].all_input_nodes[-1]  # of what the network returns
        name = last.target if isinstance(last.target, str) else getattr(last.target, "__name__", "")
        module = self.module(last)
        return (type(module).__name__.lower() if module is not None else name) == function

    def drops_always(self) -> bool:
        """Whether a function drops values in inference too, as ``F.dropout`` does that nobody tells the mode."""
        names = {node: getattr(node.target, "__name__", "") for node in self.nodes if node.op == "call_function"}
        dropping = [node.kwargs for node, name in names.items() if "dropout" in name]
        return any(given.get("training") is True and given.get("p") != 0 for given in dropping)

    def in_place(self, node: fx.Node) -> bool:
        """Return whether an operation overwrites its first argument."""
        name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")
        by_name = node.op != "call_module" and (
            name.endswith("_") or (name.startswith("i") and hasattr(Tensor, f"__{name}__"))
        )
        return by_name or bool(node.kwargs.get("inplace")) or getattr(self.module(node), "inplace", False) is True

    def overwrites(self, nodes: Sequence[fx.Node], entering: fx.Node) -> bool:
        """Return whether one of these operations overwrites a tensor, directly or through a view.

        Args:
            nodes: operations to check.
            entering: operation that made the tensor.
        """
        memory = _memory(self.values[self.index[entering]])
        first = [(node, node.args[0]) for node in nodes if node.args and isinstance(node.args[0], fx.Node)]
        return any(self.in_place(node) and _memory(self.values[self.index[arg]]) == memory for node, arg in first)


def name_inside(node: fx.Node) -> str:
    """Return the network's name of the module, parameter or buffer that an operation uses."""
    return str(node.target).removeprefix("network.")


def _follows_batches(module: nn.Module) -> bool:
    """Return whether a module has running statistics, which change in training."""
    return isinstance(module, _NormBase) and module.track_running_stats


def _memory(value: Tensor | None) -> int | None:
    """Return the address of a tensor's storage, which its views share."""
    return None if value is None else value.untyped_storage().data_ptr()


class _Observer(fx.Interpreter):
    """Runs a trace and keeps the tensor that each operation makes."""

    def __init__(self, network: nn.Module, trace: Trace) -> None:
        super().__init__(Caller(network), graph=trace.graph)
        self.constants = trace.constants
        self.made: list[Tensor | None] = []

    def run_node(self, n: fx.Node) -> object:
        """Run one operation and keep its result."""
        value = super().run_node(n)
        self.made.append(value if isinstance(value, Tensor) else None)
        return value

    def fetch_attr(self, target: str) -> object:
        """Return an attribute of the network, or a constant of its trace."""
        return self.constants[target] if target in self.constants else super().fetch_attr(target)


@torch.no_grad()
def _observe(network: nn.Module, trace: Trace, images: Tensor) -> list[Tensor | None]:
    observer = _Observer(network, trace)
    with inference_mode_of(observer.module):  # running statistics and random numbers do not change
        observer.run(images)
    return observer.made
