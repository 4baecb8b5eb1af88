"""Sets records apart that a row must not average over: parts of a study, and the same cell in several ledgers."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace

from tbft.study.reporting.pairs import Pair
from tbft.study.reporting.record import Record
from tbft.study.reporting.results import Results, Setting, pair_of, setting_of


def set_apart(results: Results) -> Results:
    """Return the records with what sets them apart: their ledger, if two hold the same cells, and their part.

    So ledgers of the same study on two machines get rows of their own, ledgers with different cells share rows, and
    drifts for development are not averaged with held-out ones.
    """
    named = _several_hold_the_same(results)
    return Results(replace(record, apart=_reasons(record, named)) for record in results.records)


def _reasons(record: Record, named: bool) -> tuple[str, ...]:
    return tuple(reason for reason in (record.ledger if named else "", record.part) if reason)


def _several_hold_the_same(results: Results) -> bool:
    ledgers: Mapping[tuple[Setting, str, Pair], set[str]] = defaultdict(set)
    for record in results.records:
        alike = setting_of(replace(record, apart=()))  # ignore that records were set apart before
        ledgers[alike, record.series, pair_of(record)].add(record.ledger)
    return any(len(holding) > 1 for holding in ledgers.values())
