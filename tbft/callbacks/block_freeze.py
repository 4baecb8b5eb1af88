"""Freezing as a callback: only the target block trains."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.seed import isolate_rng
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from tbft.adaptation.freezing import IMAGES_IN_A_BATCH, BlockFreeze
from tbft.callbacks.batches import images_of, join_batches, on_device, training_batches
from tbft.callbacks.network import by_position, drift_of, find_chain, find_network
from tbft.errors import BadInput
from tbft.models.chain import BlockChain
from tbft.models.traced import TracedChain


class BlockFreezeCallback(BlockFreeze, Callback):
    """Trains the target block of a drift level and freezes the rest, in any LightningModule (see ``BlockFreeze``).

    The network is cut into blocks by tracing it once; it shares all weights with its chain. The position of this
    callback in the list of callbacks does not matter.

    Args:
        *args: arguments of ``BlockFreeze``.
        network: network inside the LightningModule: path of an attribute, or a chain that ``chain_of`` made of it.
            ``None`` is the module's only child that has parameters.
        images: function that returns the images of a batch, as the network takes them.
        examples: batches to trace the network on and to estimate statistics from, or a function that returns them.
            ``None`` is the trainer's training dataloader, which is then read once more before training.
        **options: arguments of ``BlockFreeze``.

    Raises:
        BadInput: when a fit begins, if the network cannot be found or traced, or the drift level is not known.

    Attributes:
        chain: network as a chain of blocks; ``None`` before a fit begins.
    """

    def __init__(
        self,
        *args: Any,
        network: str | BlockChain | None = None,
        images: Callable[[Any], Tensor] = images_of,
        examples: Iterable[Any] | Callable[[], Iterable[Any]] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(*args, **options)
        self.network, self.images, self.examples = network, images, examples
        self.chain: BlockChain | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Freeze before the optimiser is made and before DDP wraps the module.

        Raises:
            BadInput: if a block is to be aligned and the module or the data cannot have a source card.
        """
        if stage == "fit":
            if self.align != "never" and not by_position(trainer, pl_module):
                raise BadInput(
                    f"align={self.align!r} needs an ImageClassifier, whose base model has a source card, and "
                    "LabelledData: leave it out"
                )
            self.chain = self._find_chain(trainer, pl_module)
            self.freeze(self.chain, self.target_of(self.chain, drift_of(trainer)))

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore whether statistics are refreshed and the front block is aligned, as the checkpoint's weights are."""
        self.refreshed, self.aligned = state_dict["refreshed"], state_dict.get("aligned", False)

    def state_dict(self) -> dict[str, Any]:
        """Return whether the statistics are refreshed and the front block is aligned."""
        return {"refreshed": self.refreshed, "aligned": self.aligned}

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Align and re-estimate the statistics, if the options ask for it and it is not done yet.

        Raises:
            BadInput: if the number of training batches is not known and all would be needed.
        """
        assert self.chain is not None
        self.chain.to(pl_module.device)
        if not self.refreshes:
            return
        if found := by_position(trainer, pl_module):
            classifier, data = found
            self.prepare(classifier, data, data.seed, by_steps=trainer.max_epochs != 0)
            return
        chain = self.chain
        with isolate_rng(), trainer.precision_plugin.forward_context():
            images = self._images(trainer, pl_module)
            if self.examples is None and self.statistics_images is None and math.isinf(trainer.num_training_batches):
                raise BadInput("the training batches have no known end: give statistics_images=, or examples=")
            batches = join_batches(self._some_of(images), IMAGES_IN_A_BATCH)
            self.refresh_from(chain, batches, lambda x: chain(x, stop="fc"))
        for norm in (module for module in chain.modules() if isinstance(module, _BatchNorm)):
            for estimate in (norm.running_mean, norm.running_var):
                if estimate is not None:  # each process has seen only its share of the images
                    estimate.copy_(trainer.strategy.reduce(estimate, reduce_op="mean"))

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Set the modes again, because Lightning may have changed them around validation."""
        assert self.chain is not None
        self.set_modes(self.chain)

    def set_modes(self, chain: BlockChain) -> None:
        """Put frozen links into inference mode, and with them functions in a traced network's own ``forward``."""
        super().set_modes(chain)
        if isinstance(chain, TracedChain):
            chain.network.training = self.statistics == "batch" or self.target == chain.links

    def _find_chain(self, trainer: Trainer, module: LightningModule) -> BlockChain:
        network = find_network(module, self.network)

        def first_images() -> Tensor:
            try:
                with isolate_rng():
                    first = next(islice(self._images(trainer, module, torch.device("cpu")), 1), None)
            except AttributeError as error:  # the module opens its data in its own setup, which comes later
                raise BadInput(
                    f"the training batches cannot be had before the module is set up ({error}): give network= a chain "
                    "that was made with tbft.models.traced.chain_of, or examples=, some batches"
                ) from None
            if first is None:
                raise BadInput("there is no training batch: give examples=, some batches")
            return first

        return self.network if isinstance(self.network, BlockChain) else find_chain(network, first_images)

    def _images(
        self, trainer: Trainer, module: LightningModule, device: torch.device | None = None
    ) -> Iterator[Tensor]:
        batches = self.examples() if callable(self.examples) else self.examples
        batches = training_batches(trainer) if batches is None else batches
        return map(self.images, on_device(batches, trainer, module, device))

    def _some_of(self, images: Iterable[Tensor]) -> Iterator[Tensor]:
        """Yield the first ``statistics_images`` of the images, or all if that is ``None``."""
        left = self.statistics_images
        for batch in images:
            yield batch if left is None else batch[:left]
            left = None if left is None else left - len(batch)
            if left is not None and left <= 0:
                return
