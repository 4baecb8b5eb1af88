"""torchvision's ResNets, wide ResNets and ResNeXts as chains of blocks, with torchvision's own keys."""

from __future__ import annotations

from torch import nn

from tbft.models.chain import BlockChain

NAMES = (
    *("resnet18", "resnet34", "resnet50", "resnet101", "resnet152"),
    *("resnext50_32x4d", "resnext101_32x8d", "resnext101_64x4d", "wide_resnet50_2", "wide_resnet101_2"),
)


class TorchvisionResNet(BlockChain):
    """A torchvision ResNet with four stages: ``block1`` = stem and first stage ... ``block4``, ``fc``.

    Args:
        name: one of ``NAMES``.
        num_classes: number of outputs of the head.
        image_size: side of the images, in pixels (any size of at least 32 works; 224 is usual).
    """

    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's, as for torchvision's own weights

    def __init__(self, name: str = "resnet18", num_classes: int = 10, image_size: int = 224) -> None:
        super().__init__()
        from torchvision.models import get_model  # 1 s of imports that the paper's network does not need

        if name not in NAMES:
            raise ValueError(f"unknown torchvision ResNet {name!r}: choose one of {', '.join(NAMES)}")
        self.num_classes, self.image_size = num_classes, image_size
        for child, module in get_model(name, weights=None, num_classes=num_classes).named_children():
            self.add_module(child, module)
        self.flatten = nn.Flatten()

    def chain(self) -> dict[str, tuple[nn.Module, ...]]:
        """Return ``block1`` (stem and first stage), ``block2``, ..., ``block4``, ``pool`` (no parameters), ``fc``."""
        child = dict(self.named_children())
        stem = (child["conv1"], child["bn1"], child["relu"], child["maxpool"])
        return {
            "block1": (*stem, child["layer1"]),
            "block2": (child["layer2"],),
            "block3": (child["layer3"],),
            "block4": (child["layer4"],),
            "pool": (child["avgpool"], self.flatten),
            "fc": (child["fc"],),
        }
