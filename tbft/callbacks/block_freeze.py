"""Which blocks train: the step that makes fine-tuning Target Block Fine-Tuning."""

from __future__ import annotations

from typing import Any, Literal

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from tbft.data import DomainData
from tbft.errors import BadInput, check_at_least
from tbft.models.chain import LEVELS, BlockChain
from tbft.models.statistics import can_refresh, estimating_statistics, set_modes
from tbft.module import ImageClassifier

Policy = Literal["source", "refresh", "batch"]


class BlockFreezeCallback(Callback):
    """Trains the target block of a drift level and freezes the rest: parameters, buffers and mode.

    Args:
        level: drift level, ``input``, ``feature`` or ``output``; ``None`` takes the one that the data's drift
            belongs to.
        blocks: blocks to train instead of the level's own: names, ``all``, or an empty list for none.
        statistics: BatchNorm statistics. ``source`` keeps the base model's in frozen blocks; ``refresh``
            re-estimates all of them by one forward pass over training images, then holds those of frozen
            blocks; ``batch`` lets every block, frozen ones too, use batch statistics and follow them (the
            paper's protocol). Blocks that train always use batch statistics.
        statistics_images: training images for the re-estimate. ``None`` is all of them under ``refresh`` and none
            under ``batch``, where a number lets the statistics start from the target's before they follow it
            (few steps do not carry them there: each moves them by a tenth).
        strategy: name of the strategy in the record; ``None`` names it after the blocks.

    Raises:
        BadInput: if statistics are to be re-estimated on no image.
    """

    def __init__(
        self,
        level: Literal["input", "feature", "output"] | None = None,
        blocks: list[str] | None = None,
        statistics: Policy = "source",
        statistics_images: int | None = None,
        strategy: str | None = None,
    ) -> None:
        check_at_least(1, "freeze", statistics_images=statistics_images)
        self.level, self.blocks, self.statistics = level, blocks, statistics
        self.statistics_images, self.strategy = statistics_images, strategy
        self.target: tuple[str, ...] = ()
        self.refreshed = False

    def target_of(self, chain: BlockChain, data: DomainData) -> tuple[str, ...]:
        """The links to train, in chain order.

        Raises:
            BadInput: if neither the configuration nor the data says what drifted, or a block is unknown.
        """
        if self.blocks is not None:
            return chain.resolve(self.blocks)
        if data.domain == "source":
            return chain.links
        return (chain.block_of(self.level_of(data)),)

    def level_of(self, data: DomainData) -> str:
        """The drift level: the one given, or else the data's.

        Raises:
            BadInput: if neither is known.
        """
        level = self.level or data.drift.level
        if level is None:
            raise BadInput(f"the drift level is not known: give freeze.level ({', '.join(LEVELS)}) or freeze.blocks")
        return level

    def strategy_of(self, chain: BlockChain, data: DomainData) -> str:
        """Name of the strategy for the record: ``block`` is the level's own block."""
        if self.strategy is not None:
            return self.strategy
        target = self.target_of(chain, data)
        if data.domain == "source":
            return "base"
        if target == chain.links:
            return "full"
        level = self.level or data.drift.level
        if level is not None and target == (chain.block_of(level),):
            return "block"
        return "+".join(target) or "none"

    def freeze(self, chain: BlockChain, target: tuple[str, ...]) -> None:
        """Let exactly the target's parameters require gradients, and set every module's mode."""
        self.target = target
        trained = {id(p) for module in chain.modules_of(target) for p in module.parameters(recurse=False)}
        for parameter in chain.parameters():
            parameter.requires_grad_(id(parameter) in trained)
        self.set_modes(chain)

    def set_modes(self, chain: BlockChain) -> None:
        """Inference mode for what is frozen, unless the statistics policy is ``batch``."""
        set_modes(chain, chain.links if self.statistics == "batch" else self.target)

    # Lightning's hooks, in the order in which they come.

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Freeze before the optimiser is made and before DDP wraps the module."""
        if stage == "fit":
            chain, data = _parts(trainer, pl_module)
            self.freeze(chain, self.target_of(chain, data))

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """A resumed run has its refreshed statistics from the checkpoint."""
        self.refreshed = state_dict["refreshed"]

    def state_dict(self) -> dict[str, Any]:
        """Whether the statistics are the target's already."""
        return {"refreshed": self.refreshed}

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Re-estimate the statistics where the policy says so, once."""
        follows = self.statistics == "batch" and self.statistics_images is None
        if self.statistics == "source" or follows or self.refreshed:
            return
        chain, data = _parts(trainer, pl_module)
        if not can_refresh(chain):
            return
        assert data.train is not None
        count = min(self.statistics_images or len(data.train), len(data.train))
        order = torch.randperm(len(data.train), generator=torch.Generator().manual_seed(data.seed))[:count]
        with estimating_statistics(chain):
            for part in order.chunk(max(round(count / 256), 1)):
                batch = data.train.__getitems__(part.tolist())
                pl_module(batch._replace(x=batch.x.to(pl_module.device)), stop="fc")
        self.refreshed = True

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Lightning may have changed modes around validation: set them again."""
        self.set_modes(_parts(trainer, pl_module)[0])


def _parts(trainer: Trainer, module: LightningModule) -> tuple[BlockChain, DomainData]:
    data = trainer.datamodule  # type: ignore[attr-defined]
    assert isinstance(module, ImageClassifier) and isinstance(data, DomainData)
    return module.model, data
