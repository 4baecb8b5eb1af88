"""Describe in plain words what a run found, did and left to do, if nobody named the drift."""

from __future__ import annotations

from collections.abc import Sequence

from tbft.diagnosis.advice import OF_THE_CHOICE, REMEDY_WORDS
from tbft.schema import RunRecord

DONE = REMEDY_WORDS | {
    "align": "the front block is aligned to the source",
    "input block": "the front block is trained",
    "feature block": "the last stage is trained",
    "output block": "the head is trained",
    "full": "the whole network is trained",
}
"""What each remedy does, in words."""

TRAINED = ("input block", "feature block", "output block", "full")
"""Remedies that train weights, after a combination of the others was applied."""


def story_of(record: RunRecord) -> dict[str, str]:
    """Return what was found, done and is next, as text by ``found``, ``done`` and ``next``.

    Args:
        record: record of a completed run; the result is empty if its drift level was named.
    """
    diagnosis = record.get("diagnosis")
    if diagnosis is None:
        return {}
    levels = record["drift"].get("diagnosed", [])
    at = [f"{_listed([level for level in levels if level != 'prior'])} level"] if set(levels) - {"prior"} else []
    at += ["the class shares"] if "prior" in levels else []
    nothing = "no drift" if diagnosis["verdict"] == "keep" else "a drift of no level by itself"
    found = f"drift at {' and in '.join(at)}" if at else nothing
    if diagnosis["verdict"] in ("cannot tell", "undecided"):
        found = f"{diagnosis['verdict']}: {diagnosis['reason'].removeprefix('cannot tell: ')}"
    return {"found": found, "done": _done(record), "next": _next(record)}


def tuned_blocks(record: RunRecord) -> str:
    """Name the blocks that trained, and whether the front block was aligned first."""
    first = ", aligned with the source first" if record.get("aligned") else ""
    return (", ".join(record["blocks"]) or "nothing") + first


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:-1]) + " and " + names[-1] if len(names) > 1 else names[0]


def _done(record: RunRecord) -> str:
    """Say which combination of remedies was used in the end, and what was trained after it."""
    if record["kept"] == "base":
        return "nothing: the base model is kept"
    accepted = [step["remedies"] for step in record.get("remedies", []) if step["accepted"]]
    trained = [names[0] for names in accepted if names[0] in TRAINED]
    combined = [names for names in accepted if names[0] not in TRAINED]
    last = [name for name in (combined[-1] if combined else ["keep"]) if name != "keep"]
    said = [DONE[name] for name in [*last, *trained]]
    return "; ".join(said)


def _next(record: RunRecord) -> str:
    diagnosis = record["diagnosis"]
    advice = [sentence for sentence in diagnosis["advice"] if not sentence.startswith(OF_THE_CHOICE)]
    left = diagnosis["left"]
    if left is not None and left["value"] > 0 and left["low"] > 0:
        points = [100 * left[name] for name in ("value", "low", "high")]
        advice.insert(0, "{:.0f} points [{:.0f}, {:.0f}] below the source's accuracy are left".format(*points))
    return "; ".join(advice) or "nothing to do"
