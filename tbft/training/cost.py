"""What the remedies that train by gradients would cost, estimated before one of them is tried."""

from __future__ import annotations

from torch import Tensor

from tbft.models.chain import BlockChain
from tbft.models.multiply_adds import multiply_adds_by_link
from tbft.options.recipe import recipe_of
from tbft.remedies.aligned import IMAGES_IN_A_STEP, STEPS, epochs_behind
from tbft.remedies.refresh import STATISTICS_IMAGES

_WITH_WEIGHTS, _THROUGH = 3.0, 2.0
"""Forward passes that a pass forward and back costs: of a layer that trains (its output, its input's gradient, its
weights' gradient), and of one that the gradient passes through."""

_LEVELS = ("input", "feature")
"""Levels whose block a climb trains by steps; the head of the output level is solved."""


def estimate_training_passes(
    chain: BlockChain, image: Tensor, images: int, *, labelled: bool, aligns: bool
) -> dict[str, float]:
    """Cost of each remedy that trains, in forward passes of the network over a sample.

    Convolutions and linear layers are counted; the optimiser and the passes that validate are not.

    Args:
        chain: the network.
        image: ``(1, C, H, W)``, on its device.
        images: in the sample.
        labelled: whether they have labels, which all but aligning needs.
        aligns: whether the source's moments are known.

    Returns:
        ``align``, ``input block``, ``feature block`` and ``full``, as a climb's record names them.
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
                epochs = epochs_behind(epochs, int(0.9 * images))  # a tenth validates
            passes[f"{level} block"] = prefix + an_epoch * epochs  # the prefix is cached
        epochs = recipe_of("feature", "strategy/tuned-full.yaml", {})["trainer"]["max_epochs"]
        passes["full"] = _WITH_WEIGHTS * epochs
    return passes
