"""The remedy ``keep``: the unchanged base model, which all other remedies are compared with."""

from __future__ import annotations

from tbft.remedies.card import SourceCard
from tbft.remedies.remedy import Fit, Remedy, Size
from tbft.remedies.sample import Sample


class Keep(Remedy):
    """Changes nothing."""

    name = "keep"
    needs_labels = False
    changes = "nothing"

    def cost(self, size: Size) -> float:
        """Return 0."""
        return 0.0

    def apply(self, fit: Fit, sample: Sample, card: SourceCard) -> Fit:
        """Return the fit unchanged."""
        return fit
