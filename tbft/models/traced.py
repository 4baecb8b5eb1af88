"""Any classifier as a chain of blocks, cut by tracing or by names of its modules."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.nn.modules.dropout import _DropoutNd

from tbft.errors import BadInput
from tbft.models.chain import BlockChain
from tbft.models.cuts import IMAGES, choose_cuts, cut_behind, levels_of
from tbft.models.exactness import check_chain, count_classes
from tbft.models.operations import Operations
from tbft.models.spec import HEAD, POOL, ChainSpec, LinkSpec
from tbft.models.traced_link import TracedLink
from tbft.models.tracing import trace_network


class TracedChain(BlockChain):
    """A user's network as a chain with the same modules, parameters, buffers and keys.

    Args:
        network: the network; it stays usable, and shares all weights with the chain.
        spec: cuts of the network.
        links: for each link's name the modules that it runs, one after the other.
        facts: other attributes of a ``BlockChain``, such as ``num_classes``, by name.
    """

    spec: ChainSpec
    network: nn.Module

    def __init__(
        self, network: nn.Module, spec: ChainSpec, links: Mapping[str, tuple[nn.Module, ...]], **facts: Any
    ) -> None:
        super().__init__()
        # These bypass nn.Module's tables of names, because the network can have children or buffers of the same names.
        self.__dict__.update(facts, spec=spec, network=network, _chain=dict(links))
        # Chain and network share their tables, so moving or loading one moves or loads the other.
        self._parameters, self._buffers = network._parameters, network._buffers
        self._non_persistent_buffers_set = network._non_persistent_buffers_set
        self._modules = dict(network._modules)
        self._links = nn.ModuleList(m for link in links.values() for m in link if isinstance(m, TracedLink))
        self.training = network.training

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        """Pickle the network and cut it again when it is loaded, because the code of the links cannot be pickled."""
        names = ("image_size", "channels", "spec", "mean", "std", "architecture")
        known = {name: self.__dict__[name] for name in names}
        return partial(chain_of, **known), (self.__dict__["network"],)

    def __deepcopy__(self, memo: dict[int, Any]) -> TracedChain:
        """Copy the chain with its links, because cutting the copy again would need another trace."""
        twin = memo[id(self)] = type(self).__new__(type(self))
        twin.__dict__.update(copy.deepcopy(self.__dict__, memo))
        return twin

    def chain(self) -> dict[str, tuple[nn.Module, ...]]:
        """Return the modules of each link by its name."""
        return self.__dict__["_chain"]

    @property
    def head(self) -> nn.Linear | nn.Conv2d:
        """Layer that makes the logits."""
        head = self.__dict__["network"].get_submodule(self.spec.head)
        assert isinstance(head, nn.Linear | nn.Conv2d)
        return head

    def block_of(self, level: str) -> str:
        """Return the spec's block for a drift level."""
        block = super().block_of(level)
        return self.spec.levels.get(level, block)

    def modules_of(self, names: Sequence[str]) -> Iterator[nn.Module]:
        """Yield the modules of the named links, and every module of the network that they run."""
        for module in super().modules_of(names):
            yield module
            if isinstance(module, TracedLink):
                for part in module.runs:
                    yield from part.modules()


def chain_of(
    network: nn.Module,
    *,
    image_size: int,
    channels: int = 3,
    blocks: Mapping[str, Sequence[str]] | Sequence[str] | None = None,
    spec: ChainSpec | None = None,
    mean: tuple[float, ...] = (0.5,),
    std: tuple[float, ...] = (0.5,),
    architecture: str = "",
) -> TracedChain:
    """Turn a classifier into a chain of blocks.

    The network is traced and cut where later operations need a single tensor (see ``choose_cuts``). The chain is then
    compared with the network on random images: outputs, gradients and BatchNorm statistics, in training and in
    inference mode.

    Args:
        network: module from images ``(N, channels, image_size, image_size)`` to logits ``(N, num_classes)``.
        image_size: side of the images, in pixels.
        channels: number of channels of the images.
        blocks: places to cut, instead of choosing them. A list names the modules at whose outputs ``block1``,
            ``block2``, ... end. A mapping names the modules of each link (``block1``, ..., perhaps ``pool``, ``fc``);
            they run one after the other, with the features flattened before the head, and tracing is not needed.
        spec: cuts of an earlier chain of this network, instead of choosing them.
        mean: mean of the image normalisation, on the scale 0 to 1.
        std: standard deviation of the image normalisation, on the scale 0 to 1.
        architecture: name under which ``build`` makes the network; empty for a user's own.

    Raises:
        BadInput: if the network cannot be traced, has no linear head, gives no logits, or the chain is not exact.
    """
    device = next((parameter.device for parameter in network.parameters()), torch.device("cpu"))
    generator = torch.Generator().manual_seed(0)
    shape = IMAGES, channels, image_size, image_size
    images = torch.randn(shape, generator=generator, dtype=torch.float32, device="cpu").to(device)
    num_classes = count_classes(network, images)
    if spec is not None and any(link.modules for link in spec.links):
        blocks = {link.name: link.modules for link in spec.links}
    if isinstance(blocks, Mapping):
        spec, links, linear_head = _by_hand(network, blocks)
    else:
        spec, links, linear_head = _by_tracing(network, blocks, spec, images)
    facts = {
        "num_classes": num_classes,
        "image_size": image_size,
        "channels": channels,
        "linear_head": linear_head,
    }
    chain = TracedChain(network, spec, links, **facts, mean=mean, std=std, architecture=architecture)
    check_chain(chain, network, images[:2])  # other than in tracing, so that a fixed number of images would show
    return chain


Links = dict[str, tuple[nn.Module, ...]]


def _by_tracing(
    network: nn.Module, blocks: Sequence[str] | None, spec: ChainSpec | None, images: Tensor
) -> tuple[ChainSpec, Links, bool]:
    trace = trace_network(network)
    operations = Operations(network, trace, images)
    if spec is None:
        spec = choose_cuts(operations) if blocks is None else cut_behind(operations, blocks)
    name = type(network).__name__
    if operations.drops_always():
        raise BadInput(
            f"{name} has dropout that is never off and answers otherwise each time: give F.dropout "
            "training=self.training"
        )
    if operations.ends_with("sigmoid"):
        raise BadInput(f"{name} ends with a sigmoid and gives no logits: give it without the sigmoid")
    index = {node.name: i for i, node in enumerate(operations.nodes)}
    ends = [index.get(link.end, -1) for link in spec.links]
    alive = operations.alive()
    if ends != sorted(set(ends)) or ends[0] < 0 or any(len(alive[end]) != 1 for end in ends[:-1]):
        raise BadInput(
            f"the chain's spec does not fit {type(network).__name__} as it is here (it was made with another version): "
            "leave the spec out to cut it anew"
        )
    spans = [operations.span(start, end) for start, end in zip([0, *(end + 1 for end in ends)], ends, strict=False)]
    shared = _shared_without_state(operations, spans)
    links: Links = {}
    source = operations.nodes[0]
    for name, end, nodes in zip(spec.names, ends, spans, strict=True):
        following = operations.nodes[alive[end][0]] if alive[end] else None
        keeps = operations.overwrites(nodes, source)
        links[name] = (TracedLink(network, nodes, source, following, trace.constants, shared, keeps),)
        entering, source = operations.values[operations.index[source]], following or source
    others = [module for node in nodes[:-1] if not isinstance(module := operations.module(node), nn.Identity)]
    linear = len(others) == 1 and _is_plain(others[0])
    return spec, links, linear and entering is not None and entering.dim() == 2


def _shared_without_state(operations: Operations, spans: Sequence[Sequence[fx.Node]]) -> set[fx.Node]:
    """Return the operations that run a module without parameters and buffers which several links run."""
    links_of: dict[int, set[int]] = {}
    running = {node: module for span in spans for node in span if (module := operations.module(node)) is not None}
    for i, span in enumerate(spans):
        for node in span:
            links_of.setdefault(id(running.get(node)), set()).add(i)
    return {node for node, module in running.items() if len(links_of[id(module)]) > 1 and not module.state_dict()}


def _by_hand(network: nn.Module, blocks: Mapping[str, Sequence[str]]) -> tuple[ChainSpec, Links, bool]:
    modules = dict(network.named_modules())
    listed = [name for names in blocks.values() for name in names]
    unknown = [name for name in listed if name not in modules]
    twice = sorted({name for name in listed if listed.count(name) > 1 and _has_parameters(modules[name])})
    problem = f"it has no module {unknown[0]!r}" if unknown else f"{twice[0]!r} stands in it twice" if twice else ""
    if list(blocks)[-1:] != [HEAD] or not set(blocks) - {POOL, HEAD}:
        problem = f"give block1, ... and at last {HEAD!r}, each with the names of its modules"
    if problem:
        raise BadInput(f"blocks= describes no chain of {type(network).__name__}: {problem}")
    links: Links = {name: tuple(modules[part] for part in names) for name, names in blocks.items()}
    heads = [part for part in blocks[HEAD] if isinstance(modules[part], nn.Linear | nn.Conv2d)]
    if not heads:
        raise BadInput(f"blocks= names no linear layer and no convolution for {HEAD!r}, but {', '.join(blocks[HEAD])}")
    if common := _shared_by_hand(links):
        raise BadInput(f"blocks= describes no chain of {type(network).__name__}: {common}")
    before = list(links)[-2]
    if isinstance(links[HEAD][0], nn.Linear):
        links[before] = (*links[before], nn.Flatten())
    named = tuple(LinkSpec(name, modules=tuple(names)) for name, names in blocks.items())
    spec = ChainSpec(named, heads[-1], levels_of(list(blocks)))
    return spec, links, len(links[HEAD]) == 1 and _is_plain(links[HEAD][0])


@torch.no_grad()
def _is_plain(module: nn.Module | None) -> bool:
    """Return whether a solved head can replace a module: it must be a mere linear layer with a bias."""
    if not isinstance(module, nn.Linear) or set(module.state_dict()) != {"weight", "bias"}:
        return False
    x = torch.linspace(-2, 3, 2 * module.in_features).view(2, -1).to(module.weight)
    return torch.allclose(module(x), F.linear(x, module.weight, module.bias), atol=1e-6)  # a subclass can do more


def _shared_by_hand(links: Links) -> str:
    """Return in words which parameter, buffer, stateful module or dropout two links share; empty if none."""
    owner: dict[int, str] = {}
    for name, modules in links.items():
        parts = [part for module in modules for part in module.modules()]
        tensors = [[*part.parameters(recurse=False), *part.buffers(recurse=False)] for part in parts]
        stateful = [part for part, own in zip(parts, tensors, strict=True) if own or isinstance(part, _DropoutNd)]
        for item in [*stateful, *(tensor for own in tensors for tensor in own)]:
            if (other := owner.setdefault(id(item), name)) != name:
                return f"{other} and {name} share a {type(item).__name__}: give each its own"
    return ""


def _has_parameters(module: nn.Module) -> bool:
    return any(True for _ in module.parameters())
