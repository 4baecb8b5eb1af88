"""What one image's forward pass costs, in multiply-adds."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from tbft.models.chain import BlockChain
from tbft.models.statistics import inference_mode_of


@torch.no_grad()
def count_multiply_adds(chain: BlockChain, image: Tensor) -> float:
    """Multiply-adds of convolutions and linear layers for one image; what else a network does is small beside them.

    Args:
        chain: the network.
        image: ``(1, C, H, W)``, on the network's device.
    """
    counted = 0.0

    def count(module: nn.Module, _: Any, output: Tensor) -> None:
        nonlocal counted
        assert isinstance(module.weight, Tensor)
        counted += output.numel() * module.weight[0].numel()

    layers = [module for module in chain.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    hooks = [layer.register_forward_hook(count) for layer in layers]
    try:
        with inference_mode_of(chain):
            chain(image)
    finally:
        for hook in hooks:
            hook.remove()
    return counted
