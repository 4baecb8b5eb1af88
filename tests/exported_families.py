"""What a device computes from the export of a network, against torch: prediction, statistics, head, training."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from tbft.device import load
from tbft.device.evidence import solve_head
from tbft.device.network import Network
from tbft.device.pictures import of_arrays
from tbft.export.bundle import export_bundle
from tbft.export.check import check_images
from tbft.models.chain import BlockChain
from tbft.models.statistics import estimating_statistics
from tbft.models.traced import chain_of

EXACT, NONE = "exact", "none"

_REFRESHED = 1e-2
"""Largest difference of logits under refreshed statistics, relative to the largest one."""


@dataclass(frozen=True)
class Outcome:
    """Of an export that predicts as torch does: each other part is ``exact``, ``none`` of this network's, or why not.

    Attributes:
        refresh: BatchNorm statistics of new images.
        head: the linear head solved.
        step: twenty steps of the last stage, which every export compares with torch itself.
    """

    refresh: str
    head: str
    step: str

    @property
    def is_exact(self) -> bool:
        """Whether all that needs no gradient is as in torch."""
        return {self.refresh, self.head} <= {EXACT, NONE}

    def describe(self) -> str:
        """All parts in one line."""
        return f"predicts: exact; refresh: {self.refresh}; head: {self.head}; step: {self.step}"


def check_export(network: nn.Module, size: int) -> Outcome:
    """Export a network for a device, and let the device refresh its statistics and solve its head.

    Args:
        network: with ten classes.
        size: of its images, in pixels.

    Raises:
        BadInput: if it cannot be exported, or does not predict as torch does.
    """
    chain = chain_of(network, image_size=size).eval()
    pixels, labels = check_images(32, (3, size, size)), np.arange(32) % 10
    mean, std = ((0.5,) * 3,) * 2
    with tempfile.TemporaryDirectory() as folder:
        path = export_bundle(chain, Path(folder) / "pet.pyz", mean=mean, std=std)  # compares predictions with torch's
        device = load(path, threads=1)
        opened = Network(device.bundle, device.runtime)
        step = device.info()["left_out"].get(f"training {chain.block_of('feature')}", EXACT)
        opened, refresh = _refreshed(opened, chain, pixels)
        head = NONE
        if chain.linear_head:  # otherwise the large tool solves none either
            solved = solve_head(opened, of_arrays(pixels, labels, size, chain.num_classes))
            head = EXACT if all(np.isfinite(value).all() for value in solved.values()) else "not finite"
    return Outcome(refresh, head, step)


def _refreshed(network: Network, chain: BlockChain, pixels: np.ndarray) -> tuple[Network, str]:
    if not network.can_refresh:
        keeps = any("running_mean" in key for key in chain.state_dict())
        return network, "left out" if keeps else NONE
    network = network.with_changes(network.statistics(pixels))
    images = (torch.from_numpy(pixels).float() / 255 - 0.5) / 0.5
    with estimating_statistics(chain):
        chain(images)
    with torch.no_grad():
        expected = chain(images).numpy()
    off = float(np.abs(network.run(pixels)[1] - expected).max() / np.abs(expected).max())
    return network, EXACT if off <= _REFRESHED else f"logits differ by {off:.1e}"


def summary_of(outcomes: Sequence[Outcome]) -> str:
    """How many networks do each part as torch does, of those that have it."""
    lines = [f"{len(outcomes)} exports predict as torch does"]
    for part in ("refresh", "head", "step"):
        results = [getattr(outcome, part) for outcome in outcomes]
        having = [result for result in results if result != NONE]
        lines.append(f"{part}: {having.count(EXACT)} of {len(having)} that have it are as in torch")
    return "\n".join(lines)
