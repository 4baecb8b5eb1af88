"""A link of a traced network: the operations between two cuts, as a module."""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Mapping, Sequence
from operator import attrgetter
from typing import Any

from torch import Tensor, fx, nn

from tbft.models.tracing import MODE


class TracedLink(nn.Module):
    """The operations of one link, as a module that runs the network's modules without owning them.

    Parameters that operations read directly (a ViT's ``cls_token``) are registered here too, and the mode of functions
    (``F.dropout``) is the link's own. The link's state dict is empty, because the network's has all parameters. A
    module without state that several links run is copied, because a single ``nn.Dropout`` can have only one mode.

    Args:
        network: the network.
        nodes: operations of the link, in order.
        source: operation whose result is the input of the link.
        result: operation whose result is the output of the link; ``None`` in the last link.
        constants: tensors that the network creates in its ``forward``, by name.
        shared: operations that run a module without state which several links run.
        keeps: whether the link works on a copy of its input, because its operations overwrite it.

    Attributes:
        runs: modules of the network that the link runs.
        reads_mode: whether functions of the link depend on the mode.
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
        # These are not registered, because the chain has the network's modules already.
        reads_mode = any(node.op == "get_attr" and node.target == MODE for node in nodes)
        self.__dict__.update(network=network, runs=runs, run=scope["forward"], reads_mode=reads_mode)

    def forward(self, x: Tensor) -> Tensor:
        """Return the output of the link for the output of the previous one."""
        return self.run(self, x)

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        """Add nothing: the network's own keys hold the parameters."""

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        """Load nothing: the network's own keys hold the parameters."""
