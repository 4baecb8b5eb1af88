"""A feature cache that recognises images by content, for training loops that draw images in any order."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from tbft.adaptation.feature_cache import FeatureCache
from tbft.adaptation.feature_room import room_in_memory, room_on_disk
from tbft.models.chain import BlockChain

log = logging.getLogger(__name__)

_CHUNK_MIB = 16
"""MiB that are allocated at a time; the number of images is not known beforehand."""
_PAYS_FROM = 0.1
"""Share of an epoch's training images that must be known from before for the cache to stay on.

A digest took 0.7 % of the time of ResNet-26's first two blocks at 32 px, 1.9 % of ResNet-18's at 224 px (one thread).
"""


class ContentCache:
    """Runs a chain on images, and its frozen prefix only on images that it has not seen before.

    An image is recognised by the 128-bit digest of its bytes (BLAKE2b, RFC 7693). The cache switches itself off, and
    logs why, where it cannot help: the images differ in every epoch, the prefix gives other outputs each time, or it is
    not in inference mode.

    Args:
        chain: the network.
        start: first link that trains.
        settings: limits of the cache, and whether it keeps features in 16 bits.
        folder: folder of the file on disk, unless the settings name one.

    Attributes:
        on: whether the prefix's outputs are kept.
        training: whether the images that follow are training images; these alone decide whether the cache stays on.
    """

    def __init__(self, chain: BlockChain, start: str, settings: FeatureCache, folder: Path) -> None:
        self.chain, self.start, self.settings = chain, start, settings
        prefix, _, _ = chain.split((start,))
        self._prefix = list(chain.modules_of(prefix))
        self._store = FeatureStore(settings.memory_limit, settings.disk_limit, Path(settings.folder or folder))
        self._rows: dict[bytes, int] = {}
        self.on, self.training = True, False
        self._checked = False
        self._dtype: torch.dtype | None = None
        self._seen = self._met = self._epochs = 0

    def takes(self, x: object) -> bool:
        """Return whether the cache can run this input: images ``(N, C, H, W)`` that need no gradient themselves.

        The first call also checks that the prefix gives the same output twice.
        """
        if not (self.on and isinstance(x, Tensor) and x.dim() == 4 and len(x)) or x.requires_grad:
            return False
        if any(module.training for module in self._prefix):
            self.switch_off("frozen blocks are in training mode")
        elif not self._checked:
            self._checked = True
            if not self._repeats(x[:2]):
                self.switch_off("frozen blocks make other outputs of the same image each time")
        return self.on

    def run(self, x: Tensor) -> Tensor:
        """Return logits ``(N, num_classes)`` of images ``(N, C, H, W)``, with gradients from link ``start`` on."""
        return self.chain(self.features(x), start=self.start)

    @torch.no_grad()
    def features(self, x: Tensor) -> Tensor:
        """Return the input ``(N, ...)`` of the first link that trains, for images ``(N, C, H, W)``."""
        keys = digests_of(x)
        unseen = [key for key in dict.fromkeys(keys) if key not in self._rows]
        if self.training:
            self._seen += len(keys)
            self._met += sum(key in self._rows for key in keys)
        if not unseen:
            return self._store.take([self._rows[key] for key in keys]).to(self._dtype)
        first = {key: position for position, key in reversed([*enumerate(keys)])}
        made = self.chain(x[[first[key] for key in unseen]], stop=self.start)
        self._dtype = made.dtype
        if self.settings.half:
            made = made.bfloat16().to(made.dtype)  # the first epoch trains on rounded features as later ones do
        try:
            rows = self._store.add(made.bfloat16() if self.settings.half else made)
        except (OSError, MemoryError, RuntimeError) as error:
            if isinstance(error, RuntimeError) and "memory" not in str(error):
                raise
            self.switch_off(f"its outputs cannot be kept: {error}")
            return self.chain(x, stop=self.start)
        known = [position for position, key in enumerate(keys) if key in self._rows]
        new = {key: position for position, key in enumerate(unseen)}
        features = room_in_memory(made, len(keys))
        if known:
            features[known] = self._store.take([self._rows[keys[position]] for position in known]).to(made.dtype)
        others = [position for position, key in enumerate(keys) if key in new]
        features[others] = made[[new[keys[position]] for position in others]]
        self._rows.update(zip(unseen, rows, strict=False))  # images without room have no row
        return features

    def end_epoch(self) -> None:
        """Switch off if, from the second epoch on, fewer than a tenth of the training images were known from before."""
        self._epochs += 1
        seen, met = self._seen, self._met
        self._seen = self._met = 0
        if self.on and self._epochs > 1 and met < _PAYS_FROM * seen:
            why = "no room within the limits" if self._store.full else "they are augmented, or come once"
            self.switch_off(f"{met} of {seen} images of an epoch had been met before ({why})")

    def switch_off(self, reason: str) -> None:
        """Delete all features and run the whole network from now on.

        Args:
            reason: why, for the log.
        """
        log.info("the prefix runs in every epoch: %s", reason)
        self.on = False
        self._rows.clear()
        self._store.clear()

    def report(self) -> None:
        """Log how many images are cached and their size, and note place and size in the settings."""
        if self.on and self._rows:
            settings = self.settings
            settings.place, settings.mib = self._store.place, self._store.mib
            log.info("what enters %s was computed once for %d images: %.1f MiB", self.start, len(self), settings.mib)

    def __len__(self) -> int:
        return len(self._rows)

    @torch.no_grad()
    def _repeats(self, x: Tensor) -> bool:
        once, again = (self.chain(x, stop=self.start) for _ in range(2))
        return torch.allclose(once, again, rtol=1e-3, atol=1e-3 * float(once.abs().max()))


class FeatureStore:
    """Rows of features, in memory up to one limit, then on disk up to another.

    Args:
        memory_limit: largest size in memory, in MiB.
        disk_limit: largest size on disk, in MiB.
        folder: folder of the files on disk.
    """

    def __init__(self, memory_limit: float, disk_limit: float, folder: Path) -> None:
        self.limits, self.folder = {"memory": memory_limit, "disk": disk_limit}, folder
        self.clear()

    def clear(self) -> None:
        """Delete all rows."""
        self._chunks: list[Tensor] = []
        self._left = dict(self.limits)
        self._size = self._count = 0
        self.full, self.place, self._mib_of_one = False, "none", 0.0

    @property
    def mib(self) -> float:
        """Size of the kept rows, in MiB."""
        return self._count * self._mib_of_one

    def __len__(self) -> int:
        return self._count

    def add(self, features: Tensor) -> range:
        """Keep features ``(N, ...)`` as far as there is room, and none whose shape differs from the rows before.

        Returns:
            Row numbers of the kept features, which are the first of those given.

        Raises:
            OSError: if the disk is full.
        """
        begin = self._count
        if self._chunks and features.shape[1:] != self._chunks[0].shape[1:]:
            return range(begin, begin)
        for feature in features.split(1):
            if self._count == len(self._chunks) * self._size and not self._grow(feature):
                break
            self._chunks[-1][self._count % self._size] = feature[0]
            self._count += 1
        return range(begin, self._count)

    def take(self, rows: Sequence[int]) -> Tensor:
        """Return the features ``(N, ...)`` in these rows, in this order, on the device of the first chunk."""
        first, where = self._chunks[0], torch.tensor(rows)
        taken = room_in_memory(first, len(rows))
        chunk_of = where // self._size
        for number in chunk_of.unique().tolist():
            mine = (chunk_of == number).nonzero().flatten()
            chunk = self._chunks[number]
            taken[mine.to(first.device)] = chunk[(where[mine] % self._size).to(chunk.device)].to(first.device)
        return taken

    def _grow(self, like: Tensor) -> bool:
        """Add a chunk of rows like ``like`` ``(1, ...)`` if the limits allow it; return whether they do."""
        mib = like.numel() * like.element_size() / 2**20
        if not self._size:
            enough = [limit for limit in self._left.values() if limit >= mib]
            self._size = max(int(min([_CHUNK_MIB, *enough]) / mib), 1)
        wanted = self._size * mib
        place = next((place for place, left in self._left.items() if left >= wanted), None)
        self.full = place is None
        if place is None:
            return False
        with torch.inference_mode(False):  # so that training can write to room made in validation
            on_disk = place == "disk"
            room = room_on_disk(like, self._size, self.folder) if on_disk else room_in_memory(like, self._size)
        self._chunks.append(room)
        self._left[place] -= wanted
        self.place, self._mib_of_one = place, mib
        return True


def digests_of(images: Tensor) -> list[bytes]:
    """Return the 128-bit digest of the type, shape and bytes of each image ``(N, C, H, W)``."""
    start = hashlib.blake2b(f"{images.dtype} {tuple(images.shape[1:])}".encode(), digest_size=16)
    rows = images.detach().cpu().contiguous().view(len(images), -1).view(torch.uint8).numpy()
    digests = []
    for row in rows:
        digest = start.copy()
        digest.update(row)
        digests.append(digest.digest())
    return digests
