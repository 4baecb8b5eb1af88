"""The pictures of an opened data set: labels in memory, pixels read on demand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from torch import Tensor

from tbft.data.splits import Indices, outside


@dataclass(frozen=True)
class Pictures:
    """All labelled pictures of a domain, before any label map.

    Attributes:
        labels: class index of each picture ``(N,)``, in the data set's own order of classes.
        read: function from ``n`` positions to resized uint8 pictures ``(n, 3, H, W)``.
        validation: positions of the data set's own validation part; ``None`` if it has none.
        test: positions of the data set's own test part; ``None`` if it has none.
        where: function from a position to the picture's name in messages and predictions, such as its file.
        identity: function from a position to what tells a picture from another one that takes its place, such as its
            file's size; ``None`` where pictures cannot change.
        skipped: number of broken pictures that were left out on request.
        corrupted: whether the pictures already have the corruption of ``data.corruption``.
    """

    labels: Indices
    read: Callable[[Indices], Tensor]
    validation: Indices | None = None
    test: Indices | None = None
    where: Callable[[int], str] = str
    identity: Callable[[int], str] | None = None
    skipped: int = 0
    corrupted: bool = False

    @property
    def pool(self) -> Indices:
        """Positions of the pictures that are in neither of the data set's own parts."""
        return outside(self.labels, self.validation, self.test)

    def subset(self, kept: Indices) -> Pictures:
        """Return the pictures at some positions, which must be sorted; positions in the parts are renumbered."""

        def part(positions: Indices | None) -> Indices | None:
            return None if positions is None else np.flatnonzero(np.isin(kept, positions))

        identity = self.identity
        return replace(
            self,
            labels=self.labels[kept],
            read=lambda positions: self.read(kept[positions]),
            identity=identity and (lambda position: identity(int(kept[position]))),
            validation=part(self.validation),
            test=part(self.test),
            where=lambda position: self.where(int(kept[position])),
        )


class PicturesOnDemand:
    """Pictures of one part of a split, which are read when a batch needs them."""

    def __init__(self, read: Callable[[Indices], Tensor], positions: Indices) -> None:
        self.read, self.positions = read, positions

    def __call__(self, indices: Sequence[int]) -> Tensor:
        """Read the uint8 pictures ``(n, 3, H, W)`` at these positions of the part."""
        return self.read(self.positions[np.asarray(indices)])
