"""Progress of training by steps, and its learning curve."""

from __future__ import annotations

from dataclasses import dataclass, field

from tbft.remedies.validated import Score
from tbft.schema import CurveEntry


@dataclass
class Progress:
    """Progress of training by steps.

    Attributes:
        curve: points of the learning curve, one for each validation, oldest first.
        epochs: number of finished epochs.
        steps: number of optimiser steps so far.
    """

    curve: list[CurveEntry] = field(default_factory=list)
    epochs: int = 0
    steps: int = 0

    def note(self, epoch: int, step: int, score: Score, joules: float, wall_seconds: float) -> None:
        """Add a point to the learning curve.

        Args:
            epoch: index of the epoch, from 0.
            step: number of optimiser steps so far.
            score: score on the validation images.
            joules: energy of the adaptation so far, in joules.
            wall_seconds: wall time of the adaptation so far, in seconds.
        """
        self.curve.append(
            {
                "epoch": epoch,
                "step": step,
                "validation_loss": score.loss,
                "validation_accuracy": score.accuracy,
                "joules": joules,
                "wall_seconds": wall_seconds,
            }
        )
