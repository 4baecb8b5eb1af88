"""scikit-learn's handwritten digits: 1,797 real images that need no download."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from tbft.data.domain import DomainData
from tbft.data.pictures import Pictures
from tbft.data.splits import Indices

SUPERCLASSES: dict[str, tuple[int, int]] = {
    "ring": (0, 6),
    "stroke": (1, 7),
    "swan": (2, 3),
    "fork": (4, 9),
    "knot": (8, 5),
}
"""Super-classes of two digits that look alike: the first belongs to the source domain, the second to the target."""


class Digits(DomainData):
    """Handwritten digits (UCI, 8 x 8 px, 16 grey levels) as source and target.

    The source domain is one half of the images and the target domain is the other; the halves do not depend on the
    seed. With ``task="superclasses"`` the five classes are pairs of digits that look alike; the source has
    the first digit of each pair, the target the second, which the base model never saw.

    Args:
        task: ``digits`` (ten classes) or ``superclasses`` (five classes, with feature-level drift).
        kwargs: options that all data sets share (see ``DomainData``).
    """

    name = "digits"
    drifts_as_told = True

    def __init__(self, task: Literal["digits", "superclasses"] = "digits", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.task = task
        self.name = "digits" if task == "digits" else "digits-superclasses"
        self.classes = tuple(SUPERCLASSES) if task == "superclasses" else tuple("0123456789")

    @property
    def subpopulation(self) -> str | None:
        """Name of the feature-level drift, if the classes are super-classes: the target has their second digits."""
        return "subpopulation" if self.task == "superclasses" else None

    def open(self) -> Pictures:
        """Open the images of the chosen domain, as grey pictures with three channels."""
        from sklearn.datasets import load_digits

        digits = load_digits()
        images, labels = digits.images, digits.target.astype(np.int64)
        if self.task == "superclasses":
            of_domain = 0 if self.domain == "source" else 1
            label_of = {pair[of_domain]: label for label, pair in enumerate(SUPERCLASSES.values())}
            mine = np.isin(labels, list(label_of))
            images, labels = images[mine], np.array([label_of[int(d)] for d in labels[mine]])
        else:
            # The draw does not depend on the seed: the base models that ship were trained on this half.
            half = np.random.default_rng(2403).permutation(len(labels)) % 2 == (self.domain == "target")
            images, labels = images[half], labels[half]
        grey = torch.from_numpy(images * (255 / 16)).float().unsqueeze(1)
        size = (self.image_size, self.image_size)

        def read(positions: Indices) -> Tensor:
            resized = F.interpolate(grey[torch.from_numpy(positions)], size, mode="bilinear", align_corners=False)
            return resized.round().clamp(0, 255).to(torch.uint8).expand(-1, 3, -1, -1).contiguous()

        return Pictures(labels, read)
