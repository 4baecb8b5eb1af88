"""The part of a record that is written only if nobody named the drift."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from tbft.schema import RunRecord


@dataclass(frozen=True)
class Climbed:
    """The part of a record that only a climb up the ladder of remedies writes.

    Attributes:
        labelled: Whether the sample had labels.
        diagnosed: Levels of the drift that was diagnosed on the sample.
        untouched: Whether the base model was kept.
        estimated: Accuracy of the base model as estimated without labels, a fraction of 1; None with labels.
        estimated_after: Accuracy of the kept model as estimated without labels, a fraction of 1; None with labels.
        hindsight: Test accuracy of each combination of remedies without gradients, by the names of the remedies joined
            by ` + `; empty unless `ladder.hindsight` was given.
    """

    labelled: bool
    diagnosed: frozenset[str]
    untouched: bool
    estimated: float | None = None
    estimated_after: float | None = None
    hindsight: Mapping[str, float] = field(default_factory=dict)


def read_climb(content: RunRecord) -> Climbed | None:
    """Read a climb's part of a record; None if the run did not climb.

    Args:
        content: Content of `result.json`.
    """
    diagnosis = content.get("diagnosis")
    if diagnosis is None:
        return None
    steps = content.get("remedies") or []
    return Climbed(
        bool(diagnosis["labelled"]),
        frozenset(content["drift"].get("diagnosed") or ()),
        content["kept"] == "base",
        _value(diagnosis.get("estimated_accuracy")),
        _value(diagnosis.get("estimated_accuracy_after")),
        {" + ".join(step["remedies"]): step["test"] for step in steps if step.get("test") is not None},
    )


def _value(interval: Mapping[str, float] | None) -> float | None:
    return None if interval is None else float(interval["value"])
