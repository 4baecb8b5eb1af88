"""What changed between the source and the target domain."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Drift:
    """Name and level of a drift.

    Attributes:
        level: drift level ``input``, ``feature`` or ``output``; ``None`` if it is not known (one's own pictures), or if
            not exactly one of them drifted.
        name: name such as ``gaussian_noise``, ``subpopulation`` or ``flip``; several are joined with ``+``.
        severity: severity from 1 to 5 of a corruption; ``None`` for other drifts.
        is_source: whether the data is the source domain itself, on which base models are trained.
        levels: everything that drifted, out of ``input``, ``feature``, ``output`` and ``prior``; ``None`` if it is not
            known.
    """

    level: str | None
    name: str
    severity: int | None = None
    is_source: bool = False
    levels: tuple[str, ...] | None = None
