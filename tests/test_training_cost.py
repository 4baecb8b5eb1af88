"""What training would cost is estimated as torch counts it."""

import pytest
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from tbft.models import build
from tbft.models.multiply_adds import count_multiply_adds, multiply_adds_by_link
from tbft.options.recipe import recipe_of
from tbft.remedies.aligned import IMAGES_IN_A_STEP, STEPS
from tbft.remedies.refresh import STATISTICS_IMAGES
from tbft.training.cost import estimate_training_passes

IMAGE = torch.randn(1, 3, 32, 32)


def counted(run) -> float:
    """Multiply-adds of convolutions and linear layers by torch's own counter."""
    with FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops() / 2


@pytest.mark.parametrize("level", ["input", "feature"])
def test_an_epoch_of_a_block_costs_what_torch_counts(level):
    chain = build("resnet8", num_classes=10, image_size=32)
    link = chain.block_of(level)
    epochs = recipe_of(level, (), {})["trainer"]["max_epochs"]
    forward = counted(lambda: chain(IMAGE))
    for parameter in chain.parameters():
        parameter.requires_grad_(False)
    for module in chain.modules_of((link,)):
        for parameter in module.parameters(recurse=False):
            parameter.requires_grad_(True)
    cached = chain(IMAGE, stop=link) if chain.links.index(link) else IMAGE
    an_epoch = counted(lambda: F.cross_entropy(chain(cached, start=link), torch.tensor([0])).backward())
    once = counted(lambda: chain(IMAGE, stop=link)) if chain.links.index(link) else 0.0
    estimate = estimate_training_passes(chain, IMAGE, 300, labelled=True, aligns=False)[f"{level} block"]
    # The first layer that trains needs no gradient of its input, which the estimate does not know.
    assert estimate == pytest.approx((once + epochs * an_epoch) / forward, rel=0.15)


def test_links_together_are_the_whole_network():
    chain = build("resnet8", num_classes=10, image_size=32)
    by_link = multiply_adds_by_link(chain, IMAGE)
    assert tuple(by_link) == chain.links and by_link["pool"] == 0
    assert sum(by_link.values()) == count_multiply_adds(chain, IMAGE) == counted(lambda: chain(IMAGE))


def test_aligning_runs_the_front_block_alone_and_needs_no_labels():
    chain = build("resnet8", num_classes=10, image_size=32)
    by_link = multiply_adds_by_link(chain, IMAGE)
    passes = estimate_training_passes(chain, IMAGE, 500, labelled=False, aligns=True)
    drawn, again = STEPS * IMAGES_IN_A_STEP / 500, STATISTICS_IMAGES / 500
    assert passes == {"align": pytest.approx(again + 3 * drawn * by_link["block1"] / sum(by_link.values()))}
    many = estimate_training_passes(chain, IMAGE, 2000, labelled=False, aligns=True)
    assert many["align"] == pytest.approx(passes["align"] / 4)  # as many images are drawn, of four times as many
    assert not estimate_training_passes(chain, IMAGE, 500, labelled=False, aligns=False)
