"""The answer of a study as sentences."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from tbft.schema import HELD_OUT
from tbft.study.reporting.answer import Finding, Spent, choose_cost, find, settings_to_tell
from tbft.study.reporting.intervals import Estimate
from tbft.study.reporting.results import ADAPTIVE, AMP, Results
from tbft.study.reporting.table import show
from tbft.study.reporting.table_parts import energy_kind

_ONE_BY_ONE = 3  # most comparisons that are told one by one; more are counted
_OPPONENTS = {
    "tuned-full": "full fine-tuning at its best",
    "paper-full": "full fine-tuning as in the paper",
    "full": "full fine-tuning",
}
_BASIS_OF_ADAPTATION = (
    "Costs are of the adaptation (prepare, train, validate, save): not all of these runs tell those of a whole process."
)
_SUBJECTS = {ADAPTIVE: "auto, to which nobody names the drift,"}


@dataclass(frozen=True)
class Answer:
    """The answer that a page begins with.

    Attributes:
        clauses: The answer, a sentence in one or more clauses.
        notes: Notes on what the answer is based on, in whole sentences.
    """

    clauses: tuple[str, ...]
    notes: tuple[str, ...] = ()

    @property
    def sentence(self) -> str:
        """The answer as one text."""
        return " ".join(self.clauses)


@dataclass(frozen=True)
class _Cost:
    """A cost to report savings of.

    Attributes:
        words: The cost in words.
        saved: A function that takes the savings from a finding.
    """

    words: str
    saved: Callable[[Finding], Estimate | None]


def answer(results: Results) -> Answer:
    """Say which accuracy an adaptation reaches and what it saves, according to the records."""
    if not results.records:
        return Answer(("There is no completed run that adapts to a drift, so there is nothing to tell yet.",))
    spent = choose_cost(results)
    found = find(results, spent)
    if not found:
        return Answer(("No run adapts one block or chooses by itself, so there is nothing to compare.",))
    adaptation = _Cost(spent, lambda finding: finding.saved)
    process = _Cost(f"{spent} of the whole process", lambda finding: finding.saved_of_process)
    compared = [finding for finding in found if finding.opponent]
    whole = bool(compared) and all(process.saved(finding) for finding in compared)
    cost = process if whole else adaptation
    many = len(found) > _ONE_BY_ONE
    clauses = [_counted(found, cost)] if many else [_clause(found, index, cost) for index in range(len(found))]
    clauses[0] = clauses[0][0].upper() + clauses[0][1:]
    ends = [";"] * (len(clauses) - 1) + ["."]
    told = tuple(clause + end for clause, end in zip(clauses, ends, strict=True))
    basis = _basis_of_process(found, adaptation) if whole else _BASIS_OF_ADAPTATION
    return Answer(told, tuple(_notes(results, found, spent, basis)))


def _clause(found: Sequence[Finding], index: int, cost: _Cost) -> str:
    """Report one comparison, without repeating what the one before it has said."""
    finding, previous = found[index], found[index - 1] if index else None
    known = previous is not None and previous.opponent == finding.opponent
    parts = [place_of(finding, found)]
    if previous is None or previous.ours != finding.ours:
        parts.append(f"{_SUBJECTS.get(finding.ours, finding.ours)} brings the accuracy")
    parts.append(f"from {finding.before:.1f} to" if finding.before is not None else "to")
    parts.append(f"{finding.after:.1f} %")
    if finding.opponent is None:
        return " ".join(parts) + ("" if known else ", with no full fine-tuning beside it to compare with")
    opponent = _named(finding.opponent)
    told = [" ".join(parts), tell_points(finding.points, "" if known else opponent)]
    return ", ".join([*told, tell_saving(cost.saved(finding), "" if known else f" {cost.words}")])


def place_of(finding: Finding, found: Sequence[Finding]) -> str:
    """Name a finding's setting: its level, and data set and variant only if other findings are at the same level."""
    setting = finding.setting
    where = ", ".join(filter(None, [setting.dataset, setting.variant]))
    if not setting.level:
        return f"on {where}"
    alone = sum(other.setting.level == setting.level for other in found) == 1
    return f"at {setting.level} level" + ("" if alone else f" ({where})")


def tell_points(points: Estimate | None, opponent: str = "") -> str:
    """Say how our accuracy compares with the opponent's.

    Args:
        points: Our accuracy less the opponent's, in points; None without common runs.
        opponent: The opponent's name; empty if it has just been named.
    """
    if points is None:
        return "with no drift and seed in common" + (f" with {opponent}" if opponent else "")
    if not _sign(points):
        told = _figure(points, "points") + (", one seed" if points.low is None else "")
        return "no clear difference" + (f" from {opponent}" if opponent else "") + f" ({told})"
    less = _sign(points) < 0
    told = _figure(replace(_turned(points) if less else points, signed=False), "points")
    return f"{told} {'less' if less else 'more'}" + (f" than {opponent}" if opponent else "")


def tell_saving(saved: Estimate | None, spent: str = "") -> str:
    """Say how much is saved, or spent in addition.

    Args:
        saved: Part of the opponent's cost that is saved, in %; None if it is not known.
        spent: Name of the cost, after a space; empty if it has just been named.
    """
    return "at a cost that is not known" if saved is None else f"for {_share(saved, spent)}"


def _share(saved: Estimate, spent: str = "") -> str:
    if saved.low is not None and not _sign(saved):
        return f"a cost not clearly lower ({_figure(saved, '%')} less{spent})"
    less = saved.value >= 0
    told = f"{_figure(saved if less else _turned(saved), '%')} {'less' if less else 'more'}{spent}"
    alone = " (one pair of runs)" if saved.n == 1 else " (no interval)"
    return told + (alone if saved.low is None else "")


def _counted(found: Sequence[Finding], cost: _Cost) -> str:
    """Report how many comparisons are won, undecided and lost, and each one in which our accuracy is lower."""
    compared = [finding for finding in found if finding.points is not None]
    subject = "TBFT or auto" if len({finding.ours for finding in found}) > 1 else found[0].ours
    if not compared:
        after = [finding.after for finding in found]
        reached = f"in {len(found)} settings {subject} brings the accuracy to {min(after):.1f} to {max(after):.1f} %"
        return f"{reached}, with no full fine-tuning beside it to compare with"
    signs = [_sign(finding.points) for finding in compared if finding.points]
    opponents = " or ".join(dict.fromkeys(_named(finding.opponent or "") for finding in compared))
    told = f"in {len(compared)} comparisons with {opponents} {subject} is more accurate in "
    told += f"{signs.count(1)}, not clearly different in {signs.count(0)} and less accurate in {signs.count(-1)}"
    lost = [
        f"{tell_points(finding.points)} {place_of(finding, found)}"
        for finding in compared
        if finding.points and _sign(finding.points) < 0
    ]
    told += f" ({'; '.join(lost)})" if lost else ""
    saved = [estimate for finding in compared if (estimate := cost.saved(finding))]
    if not saved:
        return f"{told}, at a cost that is not known"
    less = [estimate.value for estimate in saved if _sign(estimate) > 0]
    more = [-estimate.value for estimate in saved if _sign(estimate) < 0]
    told += f"; it takes less {cost.words} in {len(less)} of {len(saved)}{_by(less)}"
    return told + (f", and more in {len(more)}{_by(more)}" if more else "")


def _by(percent: Sequence[float]) -> str:
    ends = dict.fromkeys(map(show, (min(percent), max(percent)))) if percent else {}
    return f", by {' to '.join(ends)} %" if ends else ""


def _basis_of_process(found: Sequence[Finding], adaptation: _Cost) -> str:
    """Say what a whole process contains, and what is saved of the adaptation alone."""
    told = [f"{_share(saved)} {place_of(finding, found)}" for finding in found if (saved := adaptation.saved(finding))]
    of_adaptation = f" Of the adaptation alone (prepare, train, validate, save): {', '.join(told)}." if told else ""
    return f"A whole process is counted from its start to its end, imports included, testing left out.{of_adaptation}"


def _notes(results: Results, found: Sequence[Finding], spent: Spent, basis: str) -> list[str]:
    notes = []
    if any(finding.opponent for finding in found):
        against = ", ".join(dict.fromkeys(finding.opponent for finding in found if finding.opponent))
        notes.append(
            f"Compared with {against}, the strongest full fine-tuning that ran; brackets hold 95 % confidence "
            "intervals, and what they leave open is called not clear."
        )
        notes.append(basis)
        if spent == "energy":
            notes.append(f"Energy is {energy_kind(results.records)}.")
        else:
            notes.append(
                "Processor time stands for energy, as joules are missing or have other programs in them in some of the "
                "comparisons."
            )
    told_of = settings_to_tell(results)
    if {setting.train_size for setting in results.settings()} - {setting.train_size for setting in told_of}:
        notes.append("The answer is of the largest training size.")
    if any(HELD_OUT in setting.variant for setting in told_of):
        notes.append("The answer is of the held-out drifts, on which nothing was tuned.")
    return notes


def _named(opponent: str) -> str:
    name = opponent.removesuffix(AMP)
    return _OPPONENTS.get(name, f"full fine-tuning ({name})")


def _sign(estimate: Estimate) -> int:
    """Return 1 if an interval is above zero, -1 if it is below zero, and 0 if it contains zero or is missing."""
    if estimate.low is None or estimate.high is None:
        return 0
    return 1 if estimate.low > 0 else -1 if estimate.high < 0 else 0


def _turned(estimate: Estimate) -> Estimate:
    """Return a difference with the opposite sign."""
    low, high = (None if end is None else -end for end in (estimate.high, estimate.low))
    return replace(estimate, value=-estimate.value, low=low, high=high)


def _figure(estimate: Estimate, unit: str) -> str:
    """Format a figure as in the tables, with its unit before the interval."""
    number, _, interval = show(estimate).partition(" ")
    return f"{number} {unit}" + (f" {interval}" if interval else "")
