"""The ladder: options of an adaptation whose drift nobody names."""

from __future__ import annotations

from tbft.adaptation.closed_form_head import ClosedFormHead
from tbft.adaptation.freezing import BlockFreeze
from tbft.errors import BadInput


class Ladder:
    """Lets the sample decide which remedies are applied, from the cheapest up.

    Args:
        climb: whether the sample decides what is adapted, instead of a named drift level.
        train: whether blocks may be trained by steps where enough accuracy is left to gain.
        target_accuracy: accuracy on the sample, a fraction of 1, at which to stop climbing.
        hindsight: whether to test every combination of the remedies without gradients on the test images, after the
            adaptation and apart from its cost, to see which choice would have been best.

    Raises:
        BadInput: if ``target_accuracy`` is not in (0, 1], or an option is set while ``climb`` is off.
    """

    def __init__(
        self, climb: bool = False, train: bool = True, target_accuracy: float | None = None, hindsight: bool = False
    ) -> None:
        if target_accuracy is not None and not 0 < target_accuracy <= 1:
            raise BadInput(f"ladder.target_accuracy is {target_accuracy:g}: give a fraction of 1, such as 0.9")
        if not climb and (target_accuracy is not None or not train or hindsight):
            raise BadInput(
                "ladder.target_accuracy, ladder.train and ladder.hindsight are for ladder.climb, which is off: leave "
                "them out"
            )
        self.climb, self.train, self.target_accuracy, self.hindsight = climb, train, target_accuracy, hindsight


def check_nothing_is_named(freeze: BlockFreeze, head: ClosedFormHead) -> None:
    """Refuse options that name what the ladder chooses itself: drift level, blocks, statistics, alignment, head.

    Raises:
        BadInput: if such an option is set; the message names it.
    """
    named = {
        "freeze.level": freeze.level,
        "freeze.blocks": freeze.blocks,
        "freeze.statistics": None if freeze.statistics == "source" else freeze.statistics,
        "freeze.statistics_images": freeze.statistics_images,
        "freeze.strategy": freeze.strategy,
        "freeze.align": None if freeze.align == "never" else freeze.align,
        "head.solve": head.solve or None,
        "head.images": head.images,
    }
    for option, value in named.items():
        if value is not None:
            raise BadInput(f"{option} is {value} and ladder.climb chooses what is adapted: leave one of them out")
