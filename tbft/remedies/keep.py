"""The base model as it ships: what every other remedy is measured against."""

from __future__ import annotations

from tbft.remedies.card import SourceCard
from tbft.remedies.remedy import Fit, Remedy, Size
from tbft.remedies.sample import Sample


class Keep(Remedy):
    """Change nothing."""

    name = "keep"
    needs_labels = False
    changes = "nothing"

    def cost(self, size: Size) -> float:
        """Nothing."""
        return 0.0

    def apply(self, fit: Fit, sample: Sample, card: SourceCard) -> Fit:
        """The same head."""
        return fit
