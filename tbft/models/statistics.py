"""BatchNorm statistics and modes: re-estimate the statistics, and set training and inference mode."""

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
    """Re-estimate every running mean and variance from the batches that run forward in the body.

    Each layer normalises with the statistics of the present batch, and its running statistics become the mean over the
    batches (momentum ``None`` in ``torch.nn.BatchNorm2d``). Schneider et al. 2020 (arXiv:2006.16971) call this full
    adaptation, N = 0. It needs no labels and no gradients; a few large batches estimate best. Modes and momenta are
    restored at the end. A network without BatchNorm stays as it is (LayerNorm has no running statistics).
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
    """Put every module into inference mode for the body, and restore the modes at the end."""
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
    """Return whether the chain has statistics to re-estimate; log it if there are none."""
    if has_statistics(chain.modules()):
        return True
    log.info("there are no statistics to refresh: the network has no BatchNorm")
    return False


def has_statistics(modules: Iterable[nn.Module]) -> bool:
    """Return whether any of the modules is a BatchNorm."""
    return any(isinstance(module, _BatchNorm) for module in modules)
