"""Which blocks train, and from which state on: the step that makes fine-tuning Target Block Fine-Tuning."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from typing import Literal, TypeVar

import torch

from tbft.adaptation.align import align
from tbft.data.batches import Batch, Examples
from tbft.data.drift import Drift
from tbft.data.labelled import LabelledData
from tbft.errors import BadInput, check_at_least
from tbft.models.chain import BlockChain
from tbft.models.classifier import Classifier
from tbft.models.statistics import can_refresh, estimating_statistics, has_statistics, set_modes
from tbft.schema import LEVELS

log = logging.getLogger(__name__)

IMAGES_IN_A_BATCH = 256
"""Of a re-estimate: a layer's statistics are the mean of the batches', and a few large ones estimate best."""

Policy = Literal["source", "refresh", "batch"]
Alignment = Literal["never", "with_card", "for_an_epoch"]
T = TypeVar("T")


class BlockFreeze:
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
        align: ``with_card`` first brings the output of the front block, where that trains by steps and statistics are
            re-estimated, back to the source's moments without labels (see ``tbft.adaptation.align``), if the base
            model's file has a source card with moments. ``for_an_epoch`` does so in place of one of several epochs
            where 500 images train or more; beside a length that somebody chose (``trainer.max_epochs`` and the like)
            commands take it as ``with_card``. ``never`` begins with the base model's weights.
        strategy: name of the strategy in the record; ``None`` names it after the blocks.

    Raises:
        BadInput: if statistics are to be re-estimated on no image.

    Attributes:
        target: the links that train, once ``freeze`` has run.
        refreshed: whether the statistics are the target domain's.
        aligned: whether the front block is aligned.
    """

    def __init__(
        self,
        level: Literal["input", "feature", "output"] | None = None,
        blocks: list[str] | None = None,
        statistics: Policy = "source",
        statistics_images: int | None = None,
        strategy: str | None = None,
        align: Alignment = "never",
    ) -> None:
        check_at_least(1, "freeze", statistics_images=statistics_images)
        self.level, self.blocks, self.statistics = level, blocks, statistics
        self.statistics_images, self.strategy, self.align = statistics_images, strategy, align
        self.target: tuple[str, ...] = ()
        self.refreshed = self.aligned = False

    def target_of(self, chain: BlockChain, drift: Drift) -> tuple[str, ...]:
        """The links to train, in chain order.

        Args:
            chain: the network.
            drift: what the data says of its drift; of source data every link trains.

        Raises:
            BadInput: if neither the configuration nor the data says what drifted, or a block is unknown.
        """
        if self.blocks is not None:
            return chain.resolve(self.blocks)
        if drift.is_source:
            return chain.links
        level = self.level or drift.level
        if level is None:
            raise BadInput(f"the drift level is not known: give freeze.level ({', '.join(LEVELS)}) or freeze.blocks")
        return (chain.block_of(level),)

    def strategy_of(self, chain: BlockChain, drift: Drift) -> str:
        """Name of the strategy for the record: ``block`` is the level's own block."""
        if self.strategy is not None:
            return self.strategy
        if drift.is_source:
            return "base"
        target = self.target_of(chain, drift)
        if target == chain.links:
            return "full"
        level = self.level or drift.level
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

    @property
    def refreshes(self) -> bool:
        """Whether statistics are still to be re-estimated before anything trains."""
        follows = self.statistics == "batch" and self.statistics_images is None
        return self.statistics != "source" and not follows and not self.refreshed

    def aligns(self, classifier: Classifier, target: tuple[str, ...], drift: Drift) -> bool:
        """Whether the front block is to be aligned before a target trains by steps.

        Args:
            classifier: with the base model's weights.
            target: the links that will train.
            drift: what the data says of its drift.
        """
        return self._would_align(classifier, target, drift) and classifier.card.moments is not None

    def _would_align(self, classifier: Classifier, target: tuple[str, ...], drift: Drift) -> bool:
        """The same where the source is known; source data is never aligned to itself."""
        trains_front = not drift.is_source and classifier.model.block_of(LEVELS[0]) in target
        return self.align != "never" and not self.aligned and self.refreshes and trains_front

    def prepare(self, classifier: Classifier, data: LabelledData, seed: int, *, by_steps: bool) -> None:
        """Align the front block if it is to be, then re-estimate the statistics on training images; once.

        Args:
            classifier: whose front block and statistics are meant; statistics of a network without BatchNorm stay as
                they are.
            data: the target domain's images, before any cache.
            seed: draws what the block is aligned on, and ``statistics_images``.
            by_steps: whether the target then trains by steps.
        """
        assert data.train is not None
        if by_steps and self._would_align(classifier, self.target, data.drift):
            if classifier.card.moments is not None:
                self.aligned = align(classifier, data.train, classifier.card.moments, seed)
            else:
                known = "no source card" if classifier.card.accuracy is None else "a source card without moments"
                log.info("the front block is not aligned first: the base model has %s", known)
        self.refreshed = True
        refresh_statistics(classifier, data.train, seed, self.statistics_images)

    def refresh_from(self, chain: BlockChain, batches: Iterable[T], run: Callable[[T], object]) -> None:
        """Re-estimate the statistics on batches, once.

        Args:
            chain: whose statistics are meant; a network without BatchNorm stays as it is.
            batches: of training images.
            run: runs the chain on a batch.
        """
        self.refreshed = True
        _re_estimate(chain, batches, run)


def refresh_statistics(classifier: Classifier, examples: Examples, seed: int, images: int | None = None) -> None:
    """Re-estimate the statistics by one forward pass.

    Args:
        classifier: whose statistics are meant; a network without BatchNorm stays as it is.
        examples: images, before any cache.
        seed: draws the batches.
        images: how many of the examples to draw; ``None`` takes all.
    """
    device = next(classifier.parameters()).device
    count = min(images or len(examples), len(examples))
    stop = None if has_statistics(classifier.model.modules_of(["fc"])) else "fc"

    def batches() -> Iterator[Batch]:
        order = torch.randperm(len(examples), generator=torch.Generator().manual_seed(seed))[:count]
        for part in order.chunk(max(round(count / IMAGES_IN_A_BATCH), 1)):
            batch = examples.__getitems__(part.tolist())
            yield batch._replace(x=batch.x.to(device))

    _re_estimate(classifier.model, batches(), lambda batch: classifier(batch, stop=stop))


def _re_estimate(chain: BlockChain, batches: Iterable[T], run: Callable[[T], object]) -> None:
    if can_refresh(chain):
        with estimating_statistics(chain):
            for batch in batches:
                run(batch)
