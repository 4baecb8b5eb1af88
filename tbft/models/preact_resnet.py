"""The paper's ResNet: pre-activation, CIFAR stem, three stages (He et al. 2016, arXiv:1603.05027)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tbft.models.chain import BlockChain


class PreActBlock(nn.Module):
    """BN, ReLU, conv, BN, ReLU, conv, and a shortcut without parameters.

    Where the stage changes resolution, the shortcut is a 2 x 2 average pool and the additional channels are zeros, so a
    checkpoint has no keys for it (as in the paper's checkpoints).
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.stride = stride
        self.extra = outputs - inputs

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, inputs, H, W)`` to ``(N, outputs, H / stride, W / stride)``."""
        y = self.conv1(F.relu(self.bn1(x)))
        y = self.conv2(F.relu(self.bn2(y)))
        if self.stride > 1:
            x = F.avg_pool2d(x, self.stride)
        if self.extra:
            x = F.pad(x, (0, 0, 0, 0, 0, self.extra))
        return x + y


class PreActResNet(BlockChain):
    """ResNet of depth 6n + 2 with n pre-activation blocks in each of three stages.

    ``fc`` follows an 8 x 8 average pool, so it takes ``64 * (image_size / 32) ** 2`` features at width 16:
    64 at 32 px and 1024 at 128 px, as in the paper's checkpoints. Below 32 px the pool covers the whole feature map.

    Args:
        depth: number of layers with weights, 6n + 2 (26 in the paper).
        width: channels of the first stage; the others have two and four times as many.
        num_classes: number of outputs of the head.
        image_size: side of the images, in pixels, a multiple of 4 of at least 8.
    """

    def __init__(self, depth: int = 26, width: int = 16, num_classes: int = 10, image_size: int = 32) -> None:
        super().__init__()
        if not 8 <= depth <= 1202 or (depth - 2) % 6:
            raise ValueError(f"depth {depth} is not 6n + 2 (8, 14, 20, 26, ... up to 1202)")
        if image_size % 4 or image_size < 8:
            raise ValueError(f"image size {image_size} px is not a multiple of 4 of at least 8")
        self.num_classes, self.image_size = num_classes, image_size
        blocks = (depth - 2) // 6
        self.conv1 = nn.Conv2d(3, width, 3, padding=1, bias=False)
        self.layer1 = _stage(width, width, blocks, stride=1)
        self.layer2 = _stage(width, 2 * width, blocks, stride=2)
        self.layer3 = _stage(2 * width, 4 * width, blocks, stride=2)
        self.bn = nn.BatchNorm2d(4 * width)
        side = image_size // 4
        window = min(8, side)
        self.pool = nn.Sequential(nn.ReLU(), nn.AvgPool2d(window), nn.Flatten())
        self.fc = nn.Linear(4 * width * (side // window) ** 2, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        torch.nn.init.zeros_(self.fc.bias)

    def chain(self) -> dict[str, tuple[nn.Module, ...]]:
        """Return ``block1`` (stem, first stage), ``block2``, ``block3``, ``pool`` (last norm to features), ``fc``."""
        return {
            "block1": (self.conv1, self.layer1),
            "block2": (self.layer2,),
            "block3": (self.layer3,),
            "pool": (self.bn, self.pool),
            "fc": (self.fc,),
        }


def _stage(inputs: int, outputs: int, blocks: int, stride: int) -> nn.Sequential:
    first = PreActBlock(inputs, outputs, stride)
    return nn.Sequential(first, *(PreActBlock(outputs, outputs, 1) for _ in range(blocks - 1)))
