"""How far training by steps has come, and its learning curve."""

from __future__ import annotations

from dataclasses import dataclass, field

from tbft.remedies.validated import Score
from tbft.schema import CurveEntry


@dataclass
class Progress:
    """How far training by steps has come.

    Attributes:
        curve: validations, oldest first.
        epochs: that are over.
        steps: of the optimiser.
    """

    curve: list[CurveEntry] = field(default_factory=list)
    epochs: int = 0
    steps: int = 0

    def note(self, epoch: int, step: int, score: Score, joules: float, wall_seconds: float) -> None:
        """Note one more point of the curve.

        Args:
            epoch: counted from 0.
            step: how many there were.
            score: on the validation images.
            joules: of the adaptation so far.
            wall_seconds: likewise.
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
