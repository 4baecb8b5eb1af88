"""What changed between the source and the target domain."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Drift:
    """A drift by name.

    Attributes:
        level: ``input``, ``feature`` or ``output``; ``None`` where nobody said (one's own pictures).
        name: e.g. ``gaussian_noise``, ``subpopulation``, ``flip``; several at once are joined with ``+``.
        severity: 1 to 5 for corruptions, else ``None``.
        is_source: the data is the source domain itself, on which base models are trained.
        levels: all that drifted, of ``input``, ``feature``, ``output`` and ``prior``; ``None`` where nobody can say.
    """

    level: str | None
    name: str
    severity: int | None = None
    is_source: bool = False
    levels: tuple[str, ...] | None = None
