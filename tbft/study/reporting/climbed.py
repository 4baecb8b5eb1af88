"""What a record says of a run whose drift nobody named."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from tbft.schema import RunRecord


@dataclass(frozen=True)
class Climbed:
    """The part of a record that only a climb up the ladder of remedies writes.

    Attributes:
        labelled: Whether the sample had labels.
        diagnosed: Levels that it showed.
        untouched: Whether the base model was kept.
        estimated: Accuracy of the base model that was estimated without labels, a fraction of 1; None with labels.
        estimated_after: Likewise of what was kept.
        hindsight: Test accuracy of each combination of remedies without gradients, by its names joined by ` + `; empty
            where it was not asked for.
    """

    labelled: bool
    diagnosed: frozenset[str]
    untouched: bool
    estimated: float | None = None
    estimated_after: float | None = None
    hindsight: Mapping[str, float] = field(default_factory=dict)


def read_climb(content: RunRecord) -> Climbed | None:
    """Take a climb's part from a record; None where the record is of another kind of run.

    Args:
        content: Of `result.json`.
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
