"""Notes on where the runs of a table come from: revision, number format, threads and machine."""

from collections import defaultdict
from collections.abc import Sequence

from tbft.study.reporting.record import Record
from tbft.study.reporting.results import ORDER

NUMBERS = {"plain": "fp32", "channels_last": "fp32"}  # formats that only change the layout in memory compute in fp32
SHOWN = 6  # most strategies that are named with their number format; the rest is counted


def provenance_notes(records: Sequence[Record]) -> list[str]:
    """Name revision, machines, threads and number formats of the runs, and warn if they mix revisions of tbft."""
    revisions = sorted({record.revision for record in records if record.revision})
    unknown = sum(not record.revision for record in records)
    notes = []
    if len(revisions) == 1 and not unknown:
        notes.append(f"All runs are of revision {revisions[0]}.")
    elif revisions:
        untold = f", and {unknown} runs do not say theirs" if unknown else ""
        notes.append(
            f"Warning: the runs mix revisions of tbft ({', '.join(revisions)}{untold}): what they cost may differ for "
            "that reason alone."
        )
    elif records:
        notes.append("The runs are of a version of tbft that did not record its revision.")
    machines = sorted({_machine(record) for record in records if record.machine})
    threads = sorted({record.threads for record in records if record.threads is not None})
    if machines:
        notes.append(f"Machine: {'; '.join(machines)}.{_threads(threads)}")
    return notes + _formats(records)


def formats_of(runs: Sequence[Record]) -> str:
    """Return the number formats of the convolutions of some runs; empty if a record does not say its format."""
    found = sorted({NUMBERS.get(run.number_format, run.number_format) for run in runs})
    return " and ".join(found) if all(found) else ""


def _formats(records: Sequence[Record]) -> list[str]:
    series: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        series[record.series].append(record)
    strategies: dict[str, list[str]] = defaultdict(list)
    for name in sorted(series, key=lambda name: (ORDER.index(name) if name in ORDER else len(ORDER), name)):
        if found := formats_of(series[name]):
            strategies[found].append(name)
    told = [f"{found} ({_listed(names)})" for found, names in strategies.items()]
    return [f"Convolutions compute in {', '.join(told)}."] if told else []


def _listed(names: Sequence[str]) -> str:
    more = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {more} others" if more > 0 else "")


def _machine(record: Record) -> str:
    return f"{record.machine} ({record.instructions})" if record.instructions else record.machine


def _threads(numbers: Sequence[int]) -> str:
    if not numbers:
        return ""
    return f" {' or '.join(map(str, numbers))} thread{'s' * (list(numbers) != [1])}."
