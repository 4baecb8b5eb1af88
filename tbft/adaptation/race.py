"""A race within a climb: train each contender for a few epochs, then the winner by its whole recipe, and judge it."""

from __future__ import annotations

import time
from collections.abc import Sequence

from torch import Tensor

from tbft.adaptation.adaptation import choose_device
from tbft.adaptation.climb_state import ClimbState
from tbft.adaptation.observation import Samples, put_head
from tbft.adaptation.standing import copy_weights
from tbft.remedies import REFRESHED, Choice
from tbft.remedies.evidence import clopper_pearson
from tbft.remedies.parts import heads_of_part
from tbft.remedies.race import RACE_EPOCHS, Outcome, Trained
from tbft.remedies.validated import Score, reason_to_keep_base


def train_winner(
    climb: ClimbState, choice: Choice, samples: Samples, positions: Sequence[int], contenders: Sequence[Trained]
) -> bool:
    """Run a short race and train its winner; keep the result only on evidence from the validation images.

    Args:
        climb: climb whose network has the chosen remedies; if the trained weights are not kept, its present weights are
            restored.
        choice: remedies that were chosen without training.
        samples: sample under each state of the BatchNorm statistics.
        positions: positions of the sample's images among the training images followed by the validation images.
        contenders: levels whose block may be trained, or ``full`` or ``small``; a single one needs no race.

    Returns:
        Whether the trained weights are kept.
    """
    assert climb.data.train is not None
    chain = climb.classifier.model
    chosen = copy_weights(chain)
    known = [i for i, position in enumerate(positions) if position < len(climb.data.train)]
    head, unsolved = heads_of_part(choice, samples, known, climb.card)
    put_head(climb.classifier, head)
    base, standing = _validate_base(climb), climb.validate()
    put_head(climb.classifier, unsolved)
    start = copy_weights(chain)
    winner, outcome = _race(climb, contenders, start) if len(contenders) > 1 else (contenders[0], None)
    began = time.process_time()
    if outcome is None or not outcome.is_complete:
        outcome = _train(climb, winner, start)
    score = outcome.score
    reason = reason_to_keep_base(standing, score)
    reached = clopper_pearson(score.correct, len(score.right))
    if reason is None:
        told = f"{score.correct} of {len(score.right)} validation images are right, {standing.correct} before"
        climb.standing, climb.reached = REFRESHED, reached
        climb.keep.best, climb.keep.base = score, base
    else:
        told = reason.replace("with the base", "before training")
        chain.load_state_dict(chosen)
    climb.note((_called(winner),), reason is None, told, reached, cpu_seconds=time.process_time() - began)
    return reason is None


def _race(climb: ClimbState, contenders: Sequence[Trained], start: dict[str, Tensor]) -> tuple[Trained, Outcome]:
    """Train each contender for a few epochs from the weights ``start``.

    Returns:
        The contender with the lowest validation loss, whose weights the network then has, and its outcome.
    """
    chain = climb.classifier.model
    ran: dict[Trained, tuple[Outcome, dict[str, Tensor]]] = {}
    for level in contenders:
        outcome = _train(climb, level, start, RACE_EPOCHS)
        ran[level] = outcome, copy_weights(chain)
    winner = min(ran, key=lambda level: ran[level][0].score.loss)
    outcome, weights = ran[winner]
    chain.load_state_dict(weights)
    return winner, outcome


def _train(climb: ClimbState, level: Trained, start: dict[str, Tensor], epochs: int | None = None) -> Outcome:
    """Train one contender from the weights ``start``; training within a race is noted in the trail.

    Args:
        climb: the climb.
        level: contender to train.
        start: state dict to start from.
        epochs: epochs of the race; ``None`` trains by the whole recipe.

    Returns:
        Outcome of the training; the network then has the weights of the best epoch.
    """
    assert climb.train is not None
    began = time.process_time()
    climb.classifier.model.load_state_dict(start)
    outcome = climb.train(climb, level, epochs)
    climb.classifier.place(choose_device(climb.accelerator))
    if epochs is not None:
        score = outcome.score
        reached = clopper_pearson(score.correct, len(score.right))
        told = f"a race of {epochs} epochs at most: validation loss {score.loss:.3g}"
        climb.note((_called(level),), False, told, reached, cpu_seconds=time.process_time() - began)
    return outcome


def _validate_base(climb: ClimbState) -> Score:
    stands = copy_weights(climb.classifier.model)
    climb.classifier.model.load_state_dict(climb.keep.base_weights)
    score = climb.validate()
    climb.classifier.model.load_state_dict(stands)
    return score


def _called(level: Trained) -> str:
    return "full" if level in ("full", "small") else f"{level} block"
