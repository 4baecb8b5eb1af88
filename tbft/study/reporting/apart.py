"""What a row must not average over: drifts for development and held-out ones, and one cell in several ledgers."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace

from tbft.study.reporting.pairs import Pair
from tbft.study.reporting.record import Record
from tbft.study.reporting.results import Results, Setting, pair_of, setting_of

Cell = tuple[Setting, str, Pair]


def set_apart(results: Results) -> Results:
    """The same records in rows of their own: by ledger where two hold the same cells, and by the kind of their drifts.

    Ledgers of two machines thus stand side by side, and ledgers that go on with one another stay one.
    """
    named = _several_hold_the_same(results)
    return Results(replace(record, apart=_reasons(record, named)) for record in results.records)


def _reasons(record: Record, named: bool) -> tuple[str, ...]:
    return tuple(reason for reason in (record.ledger if named else "", record.drifts) if reason)


def _several_hold_the_same(results: Results) -> bool:
    ledgers: Mapping[Cell, set[str]] = defaultdict(set)
    for record in results.records:
        ledgers[setting_of(record), record.series, pair_of(record)].add(record.ledger)
    return any(len(holding) > 1 for holding in ledgers.values())
