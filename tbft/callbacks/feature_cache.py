"""The feature cache as a callback: run the frozen prefix once per image instead of once per epoch."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from types import MethodType
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from torch import nn

from tbft.adaptation.content_cache import ContentCache
from tbft.adaptation.feature_cache import FeatureCache
from tbft.callbacks.block_freeze import BlockFreezeCallback
from tbft.callbacks.network import by_position, find_network
from tbft.errors import BadInput
from tbft.models.statistics import has_statistics
from tbft.models.traced_link import TracedLink

log = logging.getLogger(__name__)


class FeatureCacheCallback(Callback):
    """Runs the frozen prefix once per image of a fit, in any LightningModule.

    If images are known by position (``LabelledData``), a ``FeatureCache`` is filled when the fit starts. Otherwise the
    network's ``forward`` is replaced from the start of training to its end: for an image that the network has seen
    before, byte for byte, it starts at the first block that trains (see ``ContentCache``; the cache's ``batch_size`` is
    not used then). During this time hooks on modules inside the network are not called. The position of this callback
    in the list of callbacks does not matter.

    Args:
        freeze: callback of the same trainer that chooses the blocks that train.
        cache: settings of the cache; ``None`` takes the defaults of ``FeatureCache``.

    Raises:
        BadInput: when a fit begins, if ``freeze`` is not among the trainer's callbacks.
    """

    def __init__(self, freeze: BlockFreezeCallback, cache: FeatureCache | None = None) -> None:
        self.freeze, self.cache = freeze, cache or FeatureCache()
        self._contents: ContentCache | None = None
        self._undo: Callable[[], None] = _do_nothing

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Fill the cache if images are known by position and an epoch will run.

        Raises:
            BadInput: if the given ``BlockFreezeCallback`` is not among the trainer's callbacks.
        """
        if self.freeze.chain is None:
            raise BadInput("FeatureCacheCallback needs its BlockFreezeCallback among the trainer's callbacks: add it")
        self.freeze.on_fit_start(trainer, pl_module)  # statistics must be refreshed before, in any order of callbacks
        if (found := by_position(trainer, pl_module)) and trainer.max_epochs != 0 and not trainer.should_stop:
            self.cache.fill(*found, self.freeze, Path(trainer.default_root_dir))

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Replace the network's ``forward`` if images are not known by position and the prefix can be cached."""
        chain = self.freeze.chain
        assert chain is not None
        prefix, target, suffix = chain.split(self.freeze.target)
        if by_position(trainer, pl_module) or not (self.cache.enabled and prefix and target):
            return
        if self.freeze.statistics == "batch" and has_statistics(chain.modules_of(prefix)):
            log.info("nothing is cached: with batch statistics the frozen blocks change in every step")
            return
        links = [link for name in (*target, *suffix) for link in chain.chain()[name]]
        if any(isinstance(link, TracedLink) and link.reads_mode for link in links):
            log.info("nothing is cached: functions in the network's forward depend on the mode (use nn.Dropout)")
            return
        self._contents = ContentCache(chain, target[0], self.cache, Path(trainer.default_root_dir))
        self._undo = reroute(find_network(pl_module, self.freeze.network), self._contents)

    def on_train_batch_start(self, *args: Any) -> None:
        """Tell the cache that the next images are training images, which decide whether it stays on."""
        if self._contents is not None:
            self._contents.training = True

    def on_train_batch_end(self, *args: Any) -> None:
        """Tell the cache that the next images are not training images; validation images always come again."""
        if self._contents is not None:
            self._contents.training = False

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Restore the network's ``forward`` if the cache has switched itself off."""
        if self._contents is not None:
            self._contents.end_epoch()
            if not self._contents.on:
                self._restore()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the size of the cache and restore the network's ``forward``."""
        if self._contents is not None:
            self._contents.report()
        self._restore()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Restore the network's ``forward`` if the fit fails."""
        self._restore()

    def _restore(self) -> None:
        self._undo()
        self._undo, self._contents = _do_nothing, None


def reroute(network: nn.Module, contents: ContentCache) -> Callable[[], None]:
    """Replace a network's ``forward`` by one that uses a cache.

    A copy of the network that is made in the meantime, such as an average of weights, runs its own ``forward``.

    Args:
        network: the network.
        contents: cache that runs the network's chain.

    Returns:
        Function that restores the network's own ``forward``.
    """
    own = network.__dict__.get("forward")
    whole = network.forward

    def forward(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        if self is not network:
            return type(self).forward(self, *args, **kwargs)
        if len(args) == 1 and not kwargs and contents.takes(args[0]):
            return contents.run(args[0])
        return whole(*args, **kwargs)

    def undo() -> None:
        del network.forward
        if own is not None:
            network.forward = own  # type: ignore[method-assign]

    network.forward = MethodType(forward, network)  # type: ignore[method-assign]
    return undo


def _do_nothing() -> None:
    """Do nothing: no ``forward`` is replaced."""
