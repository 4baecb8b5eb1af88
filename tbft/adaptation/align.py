"""Input-level drift without labels: the front block's output is brought back to the source's moments."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator

import torch
from torch import Tensor

from tbft.adaptation.optimization import without_compiler
from tbft.data.batches import Examples
from tbft.models.classifier import Classifier
from tbft.models.moments import IMAGES_MEASURED, NEIGHBOURHOOD, moments_of, stride_on, vectors_of
from tbft.models.statistics import inference_mode_of, set_modes
from tbft.remedies.aligned import IMAGES_IN_A_STEP, RATE, STEPS
from tbft.remedies.card import Moments
from tbft.schema import LEVELS

log = logging.getLogger(__name__)

_MOST_VALUES = 224
"""Longest vector whose covariance is kept: 100 kB in fp32, half of it by symmetry."""


def align(classifier: Classifier, examples: Examples, source: Moments, seed: int) -> bool:
    """Train the front block so that the moments of its output are the source's.

    Neither labels nor any other block takes part. Matching moments of features is the idea of bottom-up feature
    restoration (Eastwood et al. 2021, arXiv:2107.05446) and of ActMAD (Mirza et al. 2022, arXiv:2211.12870), here
    confined to the block that the paper tunes.

    Args:
        classifier: with refreshed statistics; gradient flags and modes are as before when this returns.
        examples: images of the target domain.
        source: what to match.
        seed: draws the batches.

    Returns:
        Whether the block was aligned, for whose weights the statistics are still to be estimated; where training
        diverged the weights are as they were.
    """
    chain, link = classifier.model, _front(classifier)
    trained = list(dict.fromkeys(p for module in chain.modules_of((link,)) for p in module.parameters(recurse=False)))
    before = {key: value.detach().clone() for key, value in chain.state_dict().items()}
    flags = [(parameter, parameter.requires_grad) for parameter in chain.parameters()]
    device = trained[0].device
    goal = torch.tensor(source.mean, device=device).float(), torch.tensor(source.covariance, device=device).float()
    finite = True
    try:
        for parameter, _ in flags:
            parameter.requires_grad_(False)
        for parameter in trained:
            parameter.requires_grad_(True)
        optimizer = without_compiler(torch.optim.AdamW)(trained, lr=RATE, fused=device.type in ("cpu", "cuda"))
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=STEPS)
        with inference_mode_of(chain):
            set_modes(chain, (link,))
            for step, positions in enumerate(_batches(len(examples), seed)):
                output = _output(classifier, examples, positions)
                stride = stride_on(output.shape[2:]) if output.dim() == 4 else 1
                loss = _distance(vectors_of(output, source.neighbourhood, stride, first=step % stride), goal)
                finite = math.isfinite(loss.item())
                if not finite:
                    break
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
    finally:
        for parameter, flag in flags:
            parameter.requires_grad_(flag)
            parameter.grad = None
    if not finite:
        log.warning("the front block is not aligned: training diverged")
        chain.load_state_dict(before)
        return False
    return True


@torch.no_grad()
def measure_moments(classifier: Classifier, examples: Examples, images: int = 500, seed: int = 0) -> Moments | None:
    """Moments of the front block's output, in inference mode.

    Neighbourhoods are taken where the block has few channels, single positions where it has more, and nothing at all
    where the covariance of its channels alone would be too large for a source card.

    Args:
        classifier: with the base model's weights.
        examples: images of the source domain.
        images: how many of them to take.
        seed: draws them.
    """
    order = torch.randperm(len(examples), generator=torch.Generator().manual_seed(seed))[:images]
    with inference_mode_of(classifier.model):
        first = _output(classifier, examples, order[:1].tolist())
        channels = first.shape[1] if first.dim() == 4 else first.shape[-1]
        if channels > _MOST_VALUES:
            return None
        is_wide = channels * NEIGHBOURHOOD**2 > _MOST_VALUES
        neighbourhood = 1 if first.dim() != 4 or min(first.shape[2:]) < NEIGHBOURHOOD or is_wide else NEIGHBOURHOOD
        parts = order.split(IMAGES_MEASURED)
        return moments_of((_output(classifier, examples, part.tolist()) for part in parts), neighbourhood)


def _front(classifier: Classifier) -> str:
    return classifier.model.block_of(LEVELS[0])


def _batches(count: int, seed: int) -> Iterator[list[int]]:
    """Positions of each step's images: one order after another, none twice in a batch."""
    generator = torch.Generator().manual_seed(seed)
    size, order = min(IMAGES_IN_A_STEP, count), torch.empty(0, dtype=torch.int64)
    for _ in range(STEPS):
        if len(order) < size:
            order = torch.randperm(count, generator=generator)
        yield order[:size].tolist()
        order = order[size:]


def _output(classifier: Classifier, examples: Examples, positions: list[int]) -> Tensor:
    """What the front block makes of images: ``(N, C, H, W)``, or tokens ``(N, T, C)``."""
    links = classifier.model.links
    batch = examples.__getitems__(positions)
    device = next(classifier.parameters()).device
    return classifier(batch._replace(x=batch.x.to(device)), stop=links[links.index(_front(classifier)) + 1]).float()


def _distance(vectors: Tensor, goal: tuple[Tensor, Tensor]) -> Tensor:
    """Squared distance of mean and covariance to the goal's, each relative to the goal's own squared norm."""
    mean = vectors.mean(0)
    centred = vectors - mean
    covariance = centred.T @ centred / len(vectors)
    relative = [
        (now - then).square().sum() / then.square().sum().clamp_min(1e-12)
        for now, then in zip((mean, covariance), goal, strict=True)
    ]
    return torch.stack(relative).sum()
