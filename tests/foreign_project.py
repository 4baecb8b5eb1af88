"""Somebody else's Lightning project: a network, a module, a DataModule, names and batches of their own."""

from typing import Any

import torch
import torch.nn.functional as F
from lightning.pytorch import LightningDataModule, LightningModule
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

CLASSES, SIZE = 3, 16


class Residual(nn.Module):
    """Convolution and batch normalisation beside a shortcut."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(channels, channels, 3, padding=1), nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        return x + F.relu(self.norm(self.conv(x)))


class SmallNet(nn.Module):
    """Three resolutions and a head that is called otherwise than everybody's."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU())
        self.one, self.two, self.three = Residual(8), Residual(16), Residual(16)
        self.down, self.downer = nn.Conv2d(8, 16, 3, 2, 1), nn.Conv2d(16, 16, 3, 2, 1)
        self.logits = nn.Linear(16, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.two(self.down(self.one(self.stem(x))))
        return self.logits(self.three(self.downer(x)).mean((2, 3)))


class TheirModule(LightningModule):
    """Trains ``net`` on dictionaries or tuples, and logs under its own names."""

    def __init__(self, net: nn.Module, rate: float = 0.05) -> None:
        super().__init__()
        self.net, self.rate = net, rate

    def parts(self, batch: Any) -> tuple[Tensor, Tensor]:
        return (batch["image"], batch["target"]) if isinstance(batch, dict) else (batch[0], batch[1])

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        x, y = self.parts(batch)
        return F.cross_entropy(self.net(x), y)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        x, y = self.parts(batch)
        self.log("their_accuracy", (self.net(x).argmax(1) == y).float().mean(), batch_size=len(y))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD([p for p in self.parameters() if p.requires_grad], lr=self.rate, momentum=0.9)


class TheirImages(Dataset):
    """Stripes in three directions, which somebody's sensor sees darker; with a note beside image and label."""

    def __init__(self, count: int, *, drifted: bool, seed: int, keyed: bool, noisy: bool = False) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.y = torch.arange(count) % CLASSES
        ramp = torch.linspace(0, 9.4, SIZE)
        across, down = ramp.expand(SIZE, SIZE), ramp[:, None].expand(SIZE, SIZE)
        stripes = torch.stack([across, down, across + down]).sin()
        self.x = stripes[self.y, None] + 0.7 * torch.randn((count, 1, SIZE, SIZE), generator=generator)
        self.x = 0.3 * self.x - 2 if drifted else self.x
        self.keyed, self.noisy = keyed, noisy

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, i: int) -> Any:
        x = self.x[i] + 0.1 * torch.randn_like(self.x[i]) if self.noisy else self.x[i]
        return {"image": x, "target": self.y[i], "note": f"{i}"} if self.keyed else (x, self.y[i], f"{i}")


class TheirData(LightningDataModule):
    """Training and validation images of the target domain, or of the source domain."""

    def __init__(self, *, drifted: bool = True, keyed: bool = False, noisy: bool = False) -> None:
        super().__init__()
        self.how = {"drifted": drifted, "keyed": keyed}
        self.noisy = noisy

    def train_dataloader(self) -> DataLoader:
        return DataLoader(TheirImages(96, seed=1, noisy=self.noisy, **self.how), batch_size=16, shuffle=True)

    def val_dataloader(self) -> DataLoader:
        return DataLoader(TheirImages(48, seed=2, **self.how), batch_size=24)
