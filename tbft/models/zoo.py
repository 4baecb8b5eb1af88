"""Build networks by name, and recognise them by their weights."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from tbft.errors import BadInput
from tbft.models.chain import BlockChain
from tbft.models.preact_resnet import PreActResNet
from tbft.models.spec import ChainSpec
from tbft.models.torchvision_resnet import NAMES as TORCHVISION
from tbft.models.torchvision_resnet import TorchvisionResNet

_STAGES = {18: [2, 2, 2, 2], 34: [3, 4, 6, 3], 50: [3, 4, 6, 3], 101: [3, 4, 23, 3], 152: [3, 8, 36, 3]}
"""Residual blocks in each stage, by depth (He et al. 2015, arXiv:1512.03385, table 1)."""

KNOWN = (
    "timm:NAME and torchvision:NAME, "
    f"torchvision's {', '.join(TORCHVISION)}, and pre-activation resnet8, resnet14, resnet20, resnet26, ... (6n + 2)"
)
"""Names of all networks that ``build`` makes, for messages."""

_KINDS: dict[tuple[int, ...], str] = {
    (64, 64): "resnet{}",
    (128, 4): "resnext{}_32x4d",
    (256, 8): "resnext{}_32x8d",
    (256, 4): "resnext{}_64x4d",
    (128, 128): "wide_resnet{}_2",
}
"""torchvision's names by the first block's 3 x 3 convolution: output channels, and input channels of one group."""


def build(
    architecture: str,
    *,
    num_classes: int,
    image_size: int | None = None,
    width: int = 16,
    spec: ChainSpec | None = None,
) -> BlockChain:
    """Build a network, with fresh weights unless pretrained ones are asked for.

    Args:
        architecture: name of the network. ``resnet18``, ``resnet34``, ``resnet50``, ... are torchvision's; ``resnet8``,
            ``resnet14``, ``resnet20``, ``resnet26``, ... (6n + 2) are the paper's pre-activation networks;
            ``timm:NAME`` and ``torchvision:NAME`` are any classifier of these libraries, with ``@pretrained`` appended
            to download weights.
        num_classes: number of outputs of the head.
        image_size: side of the images, in pixels. ``None`` is 32, or, for ``timm:NAME`` and ``torchvision:NAME``, the
            size of the pretrained weights.
        width: channels of the first stage of a pre-activation network.
        spec: cuts of a network of timm or torchvision; ``None`` chooses them.

    Raises:
        BadInput: if the name or the image size does not fit any network.
    """
    if architecture.startswith(("timm:", "torchvision:")):
        from tbft.models.backbones import build_backbone  # imports torch.fx, which ResNets do not need

        return build_backbone(architecture, num_classes=num_classes, image_size=image_size, spec=spec)
    image_size = 32 if image_size is None else image_size
    if architecture in TORCHVISION:
        return TorchvisionResNet(architecture, num_classes, image_size)
    match = re.fullmatch(r"resnet(\d+)", architecture)
    try:
        if match:
            return PreActResNet(int(match[1]), width, num_classes, image_size)
    except ValueError as error:
        raise BadInput(f"cannot build {architecture}: {error}") from None
    raise BadInput(f"unknown architecture {architecture!r}: known are {KNOWN}")


def describe(weights: Mapping[str, Tensor]) -> dict[str, int | str] | None:
    """Return the arguments for ``build`` that fit a state dict, found from its keys and shapes.

    Returns:
        ``architecture``, ``num_classes`` and ``width``, and for pre-activation networks an ``image_size`` that fits (a
        multiple of 32); ``None`` if the keys are those of no known ResNet.
    """
    shapes = {key: tuple(value.shape) for key, value in weights.items()}
    if len(shapes.get("fc.weight", ())) != 2 or len(shapes.get("conv1.weight", ())) != 4:
        return None
    num_classes, features = shapes["fc.weight"]
    stages = [len({k.split(".")[1] for k in shapes if k.startswith(f"layer{i}.")}) for i in (1, 2, 3, 4)]
    width = shapes["conv1.weight"][0]
    if stages[3]:
        depth = 2 + sum(stages) * (3 if "layer1.0.conv3.weight" in shapes else 2)
        kind = _KINDS.get(shapes.get("layer1.0.conv2.weight", ())[:2], "unknown")
        name = kind.format(depth)
        known = _STAGES.get(depth) == stages and name in TORCHVISION
        return {"architecture": name, "num_classes": num_classes, "width": 16} if known else None
    if not width or not stages[0] or stages[0] != stages[1] or stages[1] != stages[2]:
        return None
    cells = features / (4 * width)
    side = round(cells**0.5)
    if side < 1 or side * side != cells:
        return None
    return {
        "architecture": f"resnet{6 * stages[0] + 2}",
        "num_classes": num_classes,
        "width": width,
        "image_size": 32 * side,
    }
