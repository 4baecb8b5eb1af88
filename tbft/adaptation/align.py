"""Alignment, a remedy for input-level drift: train the front block to the source's output moments, without labels."""

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
"""Length of the longest vector whose covariance is kept: 100 kB in fp32, as half of the matrix follows by symmetry."""


def align(classifier: Classifier, examples: Examples, source: Moments, seed: int) -> bool:
    """Train the front block until mean and covariance of its output are close to the source's.

    No labels are used, and only the front block runs. Matching moments of features is the idea of bottom-up feature
    restoration (Eastwood et al. 2021, arXiv:2107.05446) and of ActMAD (Mirza et al. 2022, arXiv:2211.12870), here
    confined to the block that the paper tunes.

    Args:
        classifier: classifier with refreshed statistics. Its gradient flags and modes are restored at the end.
        examples: images of the target domain.
        source: moments to match, from the source card.
        seed: seed of the draw of the batches.

    Returns:
        Whether the block was aligned. If so, the statistics must still be re-estimated for the new weights. If training
        diverged, the weights are restored.
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
    """Measure the moments of the front block's output, in inference mode.

    The vectors are neighbourhoods of 3 x 3 positions where the block has few channels, and single positions where it
    has more.

    Args:
        classifier: classifier with the base model's weights.
        examples: images of the source domain.
        images: number of images to take.
        seed: seed of the draw of these images.

    Returns:
        The moments; ``None`` where even the covariance of the channels is too large for a source card.
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
    """Yield the positions of the images of each step: random orders one after another, no image twice in a batch."""
    generator = torch.Generator().manual_seed(seed)
    size, order = min(IMAGES_IN_A_STEP, count), torch.empty(0, dtype=torch.int64)
    for _ in range(STEPS):
        if len(order) < size:
            order = torch.randperm(count, generator=generator)
        yield order[:size].tolist()
        order = order[size:]


def _output(classifier: Classifier, examples: Examples, positions: list[int]) -> Tensor:
    """Return the front block's output for the images at these positions: ``(N, C, H, W)``, or tokens ``(N, T, C)``."""
    links = classifier.model.links
    batch = examples.__getitems__(positions)
    device = next(classifier.parameters()).device
    return classifier(batch._replace(x=batch.x.to(device)), stop=links[links.index(_front(classifier)) + 1]).float()


def _distance(vectors: Tensor, goal: tuple[Tensor, Tensor]) -> Tensor:
    """Return the squared distances of mean and covariance to the goal's, summed.

    Each distance is relative to the squared norm of the goal.

    Args:
        vectors: ``(M, D)``.
        goal: mean ``(D,)`` and covariance ``(D, D)`` of the source.
    """
    mean = vectors.mean(0)
    centred = vectors - mean
    covariance = centred.T @ centred / len(vectors)
    relative = [
        (now - then).square().sum() / then.square().sum().clamp_min(1e-12)
        for now, then in zip((mean, covariance), goal, strict=True)
    ]
    return torch.stack(relative).sum()
