"""A network as an ordered chain of named blocks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence

from torch import Tensor, nn

from tbft.errors import BadInput
from tbft.models.spec import ChainSpec
from tbft.schema import LEVELS, block_of


class BlockChain(nn.Module, ABC):
    """A classifier that runs as a chain of links; a forward pass can start and stop at any of them.

    The links, in order, are the whole network. The links that the paper tunes are its *blocks*: ``block1`` (stem and
    first stage), ``block2``, ..., ``fc`` (the linear layer). The link ``pool`` (last norm if there is one, global
    pooling) lies between the last stage and ``fc``. It belongs to none of the paper's blocks and trains only when the
    whole network does.

    Attributes:
        num_classes: number of outputs of the head.
        image_size: side of the images that the network was built for, in pixels.
        channels: number of channels of the images.
        mean, std: usual normalisation of images for this kind of network, on the scale 0 to 1.
        architecture: name under which ``build`` makes the network; empty if it is the user's own.
        spec: cuts of the network; ``None`` for the ResNets, which are recognised by their keys.
        linear_head: whether the link ``fc`` is one linear layer on features ``(N, F)`` and nothing else.
    """

    num_classes: int
    image_size: int
    channels: int = 3
    mean: tuple[float, ...] = (0.5,)
    std: tuple[float, ...] = (0.5,)
    architecture: str = ""
    spec: ChainSpec | None = None
    linear_head: bool = True

    @abstractmethod
    def chain(self) -> dict[str, tuple[nn.Module, ...]]:
        """Return the links in the order in which they run: for each name the modules that run one after the other."""

    @property
    def links(self) -> tuple[str, ...]:
        """Names of all links, in order: ``("block1", "block2", "block3", "pool", "fc")`` for three stages."""
        return tuple(self.chain())

    @property
    def blocks(self) -> tuple[str, ...]:
        """Names of the blocks that can be tuned on their own, in order."""
        return tuple(name for name in self.links if name != "pool")

    @property
    def head(self) -> nn.Linear | nn.Conv2d:
        """Layer that makes the logits ``(N, num_classes)`` from features ``(N, F)`` or from a feature map."""
        (head,) = self.chain()["fc"]
        assert isinstance(head, nn.Linear)
        return head

    def forward(self, x: Tensor, start: str | None = None, stop: str | None = None) -> Tensor:
        """Run the chain from link ``start`` up to, not including, link ``stop``.

        Args:
            x: input of ``start``: images ``(N, C, H, W)`` for the first link, the previous link's output for others.
            start: first link to run; ``None`` starts at the first of the chain.
            stop: link at which to stop, which does not run; ``None`` runs to the end.

        Returns:
            The output of the last link that ran: logits ``(N, num_classes)`` at the end of the chain,
            features ``(N, C', H', W')`` after a stage, ``(N, F)`` after ``pool``.

        Raises:
            KeyError: if there is no such link.
        """
        for modules in self.span(start, stop):
            for module in modules:
                x = module(x)
        return x

    def span(self, start: str | None = None, stop: str | None = None) -> list[tuple[nn.Module, ...]]:
        """Return the modules of each link from ``start`` up to, not including, ``stop`` (see ``forward``).

        Raises:
            KeyError: if there is no such link.
        """
        chain = self.chain()
        names = list(chain)
        for name in (start, stop):
            if name is not None and name not in chain:
                raise KeyError(f"no link {name!r} in this chain; there are {', '.join(names)}")
        first = names.index(start) if start else 0
        last = names.index(stop) if stop else len(names)
        return [chain[name] for name in names[first:last]]

    def modules_of(self, names: Sequence[str]) -> Iterator[nn.Module]:
        """Yield every module inside the named links, containers included."""
        chain = self.chain()
        for name in names:
            for module in chain[name]:
                yield from module.modules()

    def block_of(self, level: str) -> str:
        """Return the block that the method tunes for a drift level (paper, section 3).

        Raises:
            BadInput: if the level is not one of ``LEVELS``.
        """
        if level not in LEVELS:
            raise BadInput(f"unknown drift level {level!r}: choose one of {', '.join(LEVELS)}")
        return block_of(level, self.blocks)

    def resolve(self, names: Sequence[str]) -> tuple[str, ...]:
        """Return the links to tune, in chain order, for block names as a user gives them.

        ``all``, or every block by name, gives the whole network with ``pool``; an empty list gives no link.

        Raises:
            BadInput: if a name is not a block of this chain.
        """
        unknown = [name for name in names if name != "all" and name not in self.blocks]
        if unknown:
            raise BadInput(
                f"unknown block {', '.join(map(repr, unknown))}: this model has {', '.join(self.blocks)}, "
                "or 'all' for the whole network"
            )
        if "all" in names or set(names) == set(self.blocks):
            return self.links
        return tuple(name for name in self.blocks if name in names)

    def split(self, tuned: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
        """Cut the chain around the tuned links.

        Args:
            tuned: links that train, in any order.

        Returns:
            ``(prefix, target, suffix)``: the links before the first tuned one, the tuned ones, and all other links
            after the first tuned one, through which the gradient passes. Without a tuned link the whole chain is
            prefix.
        """
        names = self.links
        if not tuned:
            return names, (), ()
        first = min(names.index(name) for name in tuned)
        target = tuple(name for name in names if name in tuned)
        return names[:first], target, tuple(name for name in names[first:] if name not in tuned)
