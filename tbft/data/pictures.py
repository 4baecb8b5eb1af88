"""What a data set has opened: labels at hand, pixels on demand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from torch import Tensor

from tbft.data.splits import Indices, outside


@dataclass(frozen=True)
class Pictures:
    """All labelled pictures of a domain, before any label map.

    Attributes:
        labels: class of each picture ``(N,)``.
        read: positions to uint8 pictures ``(n, 3, H, W)``, resized.
        validation: positions of a validation part that the data set itself sets aside, if there is one.
        test: likewise of a test part; tests come from it, training from the rest.
        where: position to a name for messages and predictions, such as the picture's file.
        skipped: broken pictures that were left out on request.
        corrupted: the pictures bear ``data.corruption`` already.
    """

    labels: Indices
    read: Callable[[Indices], Tensor]
    validation: Indices | None = None
    test: Indices | None = None
    where: Callable[[int], str] = str
    skipped: int = 0
    corrupted: bool = False

    @property
    def pool(self) -> Indices:
        """Positions of the pictures in neither of the data set's own parts."""
        return outside(self.labels, self.validation, self.test)

    def subset(self, kept: Indices) -> Pictures:
        """Some of the pictures, by their positions, sorted."""

        def part(positions: Indices | None) -> Indices | None:
            return None if positions is None else np.flatnonzero(np.isin(kept, positions))

        return replace(
            self,
            labels=self.labels[kept],
            read=lambda positions: self.read(kept[positions]),
            validation=part(self.validation),
            test=part(self.test),
            where=lambda position: self.where(int(kept[position])),
        )
