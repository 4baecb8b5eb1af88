"""One link of a traced network: the operations between two cuts, as a module."""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Mapping, Sequence
from operator import attrgetter
from typing import Any

from torch import Tensor, fx, nn

from tbft.models.tracing import MODE


class TracedLink(nn.Module):
    """The operations of one link, as a module that runs those of the network and owns none of them.

    The parameters that operations read themselves (a ViT's ``cls_token``) are its own too, and the mode in which
    functions run (``F.dropout``) is its own; neither stands in its state dict, for the network's has them. It runs a
    copy of a module without state that other links run too: one ``nn.Dropout`` can have one mode alone.

    Args:
        network: the network.
        nodes: the operations, in order.
        source: operation whose result enters the link.
        result: operation whose result leaves it; ``None`` in the last link.
        constants: tensors that the network makes from nothing, by name.
        shared: operations that run a module without state that other links run too.
        keeps: whether the operations write into what enters the link: they get a copy of it then.

    Attributes:
        runs: the modules of the network that it runs.
        reads_mode: whether functions in it depend on the mode.
    """

    runs: list[nn.Module]
    reads_mode: bool
    run: Callable[[TracedLink, Tensor], Tensor]

    def __init__(
        self,
        network: nn.Module,
        nodes: Sequence[fx.Node],
        source: fx.Node,
        result: fx.Node | None,
        constants: Mapping[str, Tensor],
        shared: Collection[fx.Node] = (),
        keeps: bool = False,
    ) -> None:
        super().__init__()
        graph, runs, own = fx.Graph(), [], {}
        entering = graph.placeholder("x")
        made = {source: graph.call_method("clone", (entering,)) if keeps else entering}
        for node in nodes:
            name = str(node.target).removeprefix("network.")
            if node in shared:
                own[node] = f"own_{name.replace('.', '_')}"
                self.add_module(own[node], copy.deepcopy(network.get_submodule(name)))
            elif node.op == "call_module":
                runs.append(network.get_submodule(name))
            elif node.target in constants:
                self.register_buffer(name, constants[name], persistent=False)
            elif node.op == "get_attr" and node.target != MODE:
                value = attrgetter(name)(network)
                if isinstance(value, nn.Parameter):
                    self.register_parameter(name.replace(".", "_"), value)
            if node is not source:
                made[node] = graph.node_copy(node, made.__getitem__)
                made[node].target = own.get(node, node.target)
        if result is not None:
            graph.output(made[result])
        code = graph.python_code("self")
        scope = dict(code.globals)
        exec(compile(code.src, f"<a link of {type(network).__name__}>", "exec"), scope)  # as fx.GraphModule does
        # Not registered: the chain has the network's modules already.
        reads_mode = any(node.op == "get_attr" and node.target == MODE for node in nodes)
        self.__dict__.update(network=network, runs=runs, run=scope["forward"], reads_mode=reads_mode)

    def forward(self, x: Tensor) -> Tensor:
        """The previous link's output to this one's."""
        return self.run(self, x)

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        """Add nothing: the parameters stand under the network's own keys."""

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        """Take nothing, likewise."""
