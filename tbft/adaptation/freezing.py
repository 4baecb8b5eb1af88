"""Freezing: choose the target block, freeze the rest, and prepare front block and statistics before training."""

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
"""Images in a batch when statistics are re-estimated: they are averaged over batches, and a few large batches estimate
best."""

Policy = Literal["source", "refresh", "batch"]
Alignment = Literal["never", "with_card", "for_an_epoch"]
T = TypeVar("T")


class BlockFreeze:
    """Trains the target block of a drift level and freezes the rest: parameters, buffers and mode.

    Args:
        level: drift level, ``input``, ``feature`` or ``output``; ``None`` takes the level of the data's drift.
        blocks: blocks to train instead of the level's own: names, ``all``, or an empty list for none.
        statistics: policy of the BatchNorm statistics. ``source`` keeps the base model's in frozen blocks. ``refresh``
            re-estimates all of them by one forward pass over training images, then holds those of frozen blocks.
            ``batch`` makes every block, frozen ones too, use batch statistics and moving averages (the paper's
            protocol). Blocks that train always use batch statistics.
        statistics_images: number of training images for the re-estimate. ``None`` is all of them under ``refresh`` and
            none under ``batch``. A number under ``batch`` re-estimates the statistics before the moving averages start
            (each step moves these by a tenth, so few steps do not reach the target's statistics).
        align: whether to align first: train the front block, without labels, until its output has the source's moments
            (see ``tbft.adaptation.align``). ``with_card`` aligns if the front block trains by steps, statistics are
            re-estimated, and the base model's file has a source card with moments. ``for_an_epoch`` also drops one of
            several epochs in return where 500 or more images train; commands treat it as ``with_card`` where a
            length was chosen (``trainer.max_epochs`` and the like). ``never`` starts from the base model's weights.
        strategy: name of the strategy in the record; ``None`` names it after the blocks.

    Raises:
        BadInput: if ``statistics_images`` is below 1.

    Attributes:
        target: links that train, once ``freeze`` has run.
        refreshed: whether ``prepare`` or ``refresh_from`` has run.
        aligned: whether the front block was aligned.
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
        """Return the links to train, in chain order.

        Args:
            chain: the network.
            drift: drift of the data; on source data every link trains unless blocks are named.

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
        """Return the name of the strategy for the record.

        Returns:
            The given name if there is one; ``base`` on source data; ``full`` if every link trains; ``block`` if only
            the level's own block does; otherwise the links that train joined by ``+``, or ``none``.
        """
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
        """Make only the target's parameters require gradients, and set every module's mode."""
        self.target = target
        trained = {id(p) for module in chain.modules_of(target) for p in module.parameters(recurse=False)}
        for parameter in chain.parameters():
            parameter.requires_grad_(id(parameter) in trained)
        self.set_modes(chain)

    def set_modes(self, chain: BlockChain) -> None:
        """Put frozen links into inference mode and the target into training mode; all train under policy ``batch``."""
        set_modes(chain, chain.links if self.statistics == "batch" else self.target)

    @property
    def refreshes(self) -> bool:
        """Whether statistics must still be re-estimated before training."""
        follows = self.statistics == "batch" and self.statistics_images is None
        return self.statistics != "source" and not follows and not self.refreshed

    def aligns(self, classifier: Classifier, target: tuple[str, ...], drift: Drift) -> bool:
        """Return whether the front block should be aligned before the target trains by steps.

        Args:
            classifier: classifier with the base model's weights.
            target: links that will train.
            drift: drift of the data.
        """
        return self._would_align(classifier, target, drift) and classifier.card.moments is not None

    def _would_align(self, classifier: Classifier, target: tuple[str, ...], drift: Drift) -> bool:
        """Return what ``aligns`` does, for a base model whose source card has moments. Source data is never aligned."""
        trains_front = not drift.is_source and classifier.model.block_of(LEVELS[0]) in target
        return self.align != "never" and not self.aligned and self.refreshes and trains_front

    def prepare(self, classifier: Classifier, data: LabelledData, seed: int, *, by_steps: bool) -> None:
        """Align the front block if it should be, then re-estimate the statistics on training images.

        Args:
            classifier: classifier to prepare; a network without BatchNorm has no statistics to re-estimate.
            data: images of the target domain, not yet replaced by cached features.
            seed: seed of the draws: images to align on, and ``statistics_images``.
            by_steps: whether the target trains by steps afterwards; if not, nothing is aligned.
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
        """Re-estimate the statistics on given batches.

        Args:
            chain: chain whose statistics change; a network without BatchNorm stays as it is.
            batches: batches of training images.
            run: function that runs the chain on one batch.
        """
        self.refreshed = True
        _re_estimate(chain, batches, run)


def refresh_statistics(classifier: Classifier, examples: Examples, seed: int, images: int | None = None) -> None:
    """Re-estimate the statistics by one forward pass.

    Args:
        classifier: classifier whose statistics change; a network without BatchNorm stays as it is.
        examples: images, not features from a cache.
        seed: seed of the draw of the batches.
        images: number of examples to draw; ``None`` takes all.
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
