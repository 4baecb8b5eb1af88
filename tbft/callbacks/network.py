"""Find the network in a LightningModule, and its chain of blocks."""

from __future__ import annotations

from collections.abc import Callable
from weakref import WeakValueDictionary

from lightning.pytorch import LightningModule, Trainer
from torch import Tensor, nn

from tbft.data.drift import Drift
from tbft.data.labelled import LabelledData
from tbft.errors import BadInput
from tbft.models.chain import BlockChain
from tbft.models.classifier import Classifier
from tbft.models.traced import TracedChain, chain_of
from tbft.models.traced_link import TracedLink

_chains: WeakValueDictionary[int, TracedChain] = WeakValueDictionary()
"""Chains by the ``id`` of their network, which a chain keeps alive, so that the callbacks of a fit share one chain."""


def find_network(module: LightningModule, network: str | BlockChain | None = None) -> nn.Module:
    """Return the network of a LightningModule.

    Args:
        module: the LightningModule.
        network: path of an attribute (``model``, ``student.backbone``; empty for the module itself), or a chain made of
            the network. ``None`` is the only child that is a ``BlockChain``, or else the only one that has parameters.

    Raises:
        BadInput: if there is no such module, or several modules match.
    """
    name = type(module).__name__
    children = {key: child for key, child in module.named_children() if any(True for _ in child.parameters())}
    candidates = ", ".join(map(repr, children)) or "none with parameters"
    if isinstance(network, BlockChain):
        found = network.network if isinstance(network, TracedChain) else network
        if not any(part is found for part in module.modules()):
            raise BadInput(f"network= is a chain of another network than those in {name} ({candidates})")
        return found
    if network is not None:
        try:
            return module.get_submodule(network)
        except AttributeError:
            raise BadInput(
                f"network={network!r} is no module of {name}: choose one of its children ({candidates})"
            ) from None
    chains = [child for child in children.values() if isinstance(child, BlockChain)]
    for choice in (chains, [*children.values()]):
        if len(choice) == 1:
            return choice[0]
    raise BadInput(
        f"{name} does not say which of its children is the network ({candidates}): give network=, its name, or "
        "network='' if the module itself is"
    )


def find_chain(network: nn.Module, images: Callable[[], Tensor]) -> BlockChain:
    """Return the network as a chain of blocks: itself if it is one, else traced once for all callbacks.

    Args:
        network: the network.
        images: function that returns some input images ``(N, C, H, W)``; called only if the network must be traced.

    Raises:
        BadInput: if the network cannot be traced, or the images are not square.
    """
    if isinstance(network, BlockChain):
        return network
    chain = _chains.get(id(network))
    if chain is None or not _is_whole(chain, network):
        shape = images().shape
        if len(shape) != 4 or shape[2] != shape[3]:
            raise BadInput(
                f"a batch has images of shape {tuple(shape)} and not (N, C, H, H): give network= a chain that was "
                "made with tbft.models.traced.chain_of, or images=, a function of a batch"
            )
        chain = chain_of(network, image_size=shape[2], channels=shape[1])
        _chains[id(network)] = chain
    return chain


def _is_whole(chain: TracedChain, network: nn.Module) -> bool:
    """Return whether the network still has the modules that its chain runs; its head may have been replaced."""
    there = {id(module) for module in network.modules()}
    links = [module for link in chain.chain().values() for module in link if isinstance(module, TracedLink)]
    return all(id(module) in there for link in links for module in link.runs)


def drift_of(trainer: Trainer) -> Drift:
    """Return the drift of the trainer's data; unknown for data that has none."""
    drift = getattr(trainer.datamodule, "drift", None)  # type: ignore[attr-defined]
    return drift if isinstance(drift, Drift) else Drift(None, "unknown")


def by_position(trainer: Trainer, module: LightningModule) -> tuple[Classifier, LabelledData] | None:
    """Return classifier and data if images can be read by position, else ``None``.

    Reading by position is cheaper than comparing the content of images and than passes of the trainer's loops. Every
    callback also works without it.
    """
    data = trainer.datamodule  # type: ignore[attr-defined]
    return (module, data) if isinstance(module, Classifier) and isinstance(data, LabelledData) else None
