"""What the rows of all tables have in common."""

from collections.abc import Iterable, Sequence

from tbft.study.record import Record
from tbft.study.results import Setting
from tbft.study.table import PAPER, Value

HEAD = ("figures", "level", "data set", "size", "variant")
PAPER_NOTE = "Rows marked paper are the paper's own figures (arXiv:2403.15905), of other machines and base models."


def paper_notes(rows: Sequence[tuple[Value, ...]]) -> list[str]:
    """What to say below a table that has rows of the paper's."""
    return [PAPER_NOTE] if any(row[0] == PAPER for row in rows) else []


def head(setting: Setting) -> tuple[Value, ...]:
    """The first columns of our own row, after `figures`."""
    return setting.level, setting.dataset, setting.train_size, setting.variant


def percent(fractions: Iterable[float]) -> list[float]:
    """Fractions of 1 as percent."""
    return [100 * fraction for fraction in fractions]


def energy_kind(runs: Sequence[Record]) -> str:
    """Say whether joules come from a sensor or from a model."""
    kinds = {"measured" if run.measured else "modelled" for run in runs if run.joules}
    return " and ".join(sorted(kinds)) if kinds else "unknown"
