"""Estimate the cost of the remedies that train by gradients, before one of them is tried."""

from __future__ import annotations

from torch import Tensor

from tbft.models.chain import BlockChain
from tbft.models.multiply_adds import multiply_adds_by_link
from tbft.options.recipe import recipe_of
from tbft.remedies.aligned import IMAGES_IN_A_STEP, STEPS, epochs_behind
from tbft.remedies.refresh import STATISTICS_IMAGES

_WITH_WEIGHTS, _THROUGH = 3.0, 2.0
"""Cost of a forward and backward pass, in forward passes: of a layer that trains (output, gradient of the input,
gradient of the weights), and of a frozen layer that the gradient passes through."""

_LEVELS = ("input", "feature")
"""Levels whose block a climb trains by steps; at output level the head is solved."""


def estimate_training_passes(
    chain: BlockChain, image: Tensor, images: int, *, labelled: bool, aligns: bool
) -> dict[str, float]:
    """Return the cost of each remedy that trains, in forward passes of the network over a sample.

    Convolutions and linear layers are counted; the optimiser and validation are not.

    Args:
        chain: the network.
        image: one image ``(1, C, H, W)``, on the network's device.
        images: number of images in the sample.
        labelled: whether they have labels, which all remedies but ``align`` need.
        aligns: whether the source's moments are known, which ``align`` needs.

    Returns:
        Cost of ``align``, ``input block``, ``feature block`` and ``full``, as far as they are possible; the names are
        those in a climb's record.
    """
    counted = multiply_adds_by_link(chain, image)
    whole = sum(counted.values())

    def share(links: tuple[str, ...]) -> float:
        return sum(counted[link] for link in links) / whole

    passes = {}
    if aligns:
        drawn = STEPS * min(IMAGES_IN_A_STEP, images) / images
        again = min(STATISTICS_IMAGES, images) / images
        passes["align"] = _WITH_WEIGHTS * share((chain.block_of("input"),)) * drawn + again
    if labelled:
        for level in _LEVELS:
            recipe = recipe_of(level, (), {})
            prefix, target, suffix = map(share, chain.split((chain.block_of(level),)))
            an_epoch = _WITH_WEIGHTS * target + _THROUGH * suffix
            epochs = recipe["trainer"]["max_epochs"]
            if level == "input" and aligns:
                epochs = epochs_behind(epochs, int(0.9 * images))  # a tenth of the images validates
            passes[f"{level} block"] = prefix + an_epoch * epochs  # the prefix is cached
        epochs = recipe_of("feature", "strategy/tuned-full.yaml", {})["trainer"]["max_epochs"]
        passes["full"] = _WITH_WEIGHTS * epochs
    return passes
