"""BatchNorm statistics: re-estimated on target images, and held."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from tbft.models.chain import BlockChain

log = logging.getLogger(__name__)


@contextmanager
def estimating_statistics(chain: BlockChain) -> Iterator[None]:
    """Re-estimate every running mean and variance from the batches that run forward inside.

    Each layer normalises with the statistics of the batch at hand, and its running statistics become the
    mean of the batches' (momentum ``None`` in ``torch.nn.BatchNorm2d``): what Schneider et al. 2020
    (arXiv:2006.16971) call full adaptation, N = 0. It needs no labels and makes no gradients; a few large
    batches estimate best. Modes and momenta are as before when it ends. A network without BatchNorm (LayerNorm's
    statistics are each image's own) stays as it is.
    """
    norms = [module for module in chain.modules() if isinstance(module, _BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    with inference_mode_of(chain), torch.no_grad():
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None
            norm.train()
        try:
            yield
        finally:
            for norm, momentum in zip(norms, momenta, strict=True):
                norm.momentum = momentum


@contextmanager
def inference_mode_of(network: nn.Module) -> Iterator[None]:
    """Inference mode for every module inside, the modes of before after it."""
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def set_modes(chain: BlockChain, training: Iterable[str]) -> None:
    """Put the modules of these links into training mode and all others into inference mode."""
    chain.eval()
    for module in chain.modules_of(tuple(training)):
        module.training = True


def can_refresh(chain: BlockChain) -> bool:
    """Whether there are statistics to re-estimate; says so where there are none."""
    if has_statistics(chain.modules()):
        return True
    log.info("there are no statistics to refresh: the network has no BatchNorm")
    return False


def has_statistics(modules: Iterable[nn.Module]) -> bool:
    """Whether any of the modules keeps batch statistics."""
    return any(isinstance(module, _BatchNorm) for module in modules)
