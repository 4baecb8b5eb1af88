"""Count the multiply-adds of one image's forward pass."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from tbft.models.chain import BlockChain
from tbft.models.statistics import inference_mode_of


def count_multiply_adds(chain: BlockChain, image: Tensor) -> float:
    """Return the multiply-adds of convolutions and linear layers for one image; all other operations cost little.

    Args:
        chain: the network.
        image: ``(1, C, H, W)``, on the network's device.
    """
    return sum(multiply_adds_by_link(chain, image).values())


@torch.no_grad()
def multiply_adds_by_link(chain: BlockChain, image: Tensor) -> dict[str, float]:
    """Return the multiply-adds of convolutions and linear layers for one image, by link of the chain.

    Args:
        chain: the network.
        image: ``(1, C, H, W)``, on the network's device.
    """
    counted = dict.fromkeys(chain.links, 0.0)

    def count(module: nn.Module, _: Any, output: Tensor) -> None:
        assert isinstance(module.weight, Tensor)
        counted[link_of[module]] += output.numel() * module.weight[0].numel()

    link_of = {module: link for link in chain.links for module in chain.modules_of((link,))}
    layers = [module for module in link_of if isinstance(module, nn.Conv2d | nn.Linear)]
    hooks = [layer.register_forward_hook(count) for layer in layers]
    try:
        with inference_mode_of(chain):
            chain(image)
    finally:
        for hook in hooks:
            hook.remove()
    return counted
