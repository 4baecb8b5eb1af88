"""What not naming the drift costs, on digits: regret against the best remedy in hindsight."""

import numpy as np
import pytest

from tbft.study.adaptive import Cell, Outcome, digits_cells, measure, photo_cells, table

CELLS = {cell.name: cell for cell in digits_cells()}


@pytest.mark.parametrize(("name", "most"), [("flip", 0.015), ("superclasses", 0.03), ("long-tailed prior", 0.08)])
def test_little_is_lost_by_not_naming_the_drift(name, most):
    found = measure(CELLS[name], 200, seed=0, full=False)
    assert set(found) >= {"ours", "no labels", "none", "refresh + head", "best"}
    assert ("level" in found) == (name != "long-tailed prior")
    assert 0 <= found["best"].accuracy - found["ours"].accuracy <= most
    assert found["ours"].cpu_seconds > 0 and found["ours"].accuracy >= found["none"].accuracy


def test_the_table_has_a_row_a_drift_and_the_regret_of_each_strategy():
    def found(ours, best):
        return {"ours": Outcome(ours, 1.0), "none": Outcome(0.5, 0.0), "best": Outcome(best, 0.0)}

    rows = [("fog", 100, found(0.7, 0.7)), ("fog", 100, found(0.6, 0.64)), ("flip", 100, found(0.8, 0.8))]
    *_, fog, flip, regret = table(rows).splitlines()
    assert "65.0 (1.0)" in fog and "| 67.0 |" in fog and "80.0 (1.0)" in flip
    mean, tail = 4 / 3, 100 * np.quantile([0, 0.04, 0], 0.95)
    assert f"{mean:.2f} (95th percentile {tail:.1f})" in regret


def test_cells_say_what_drifted():
    cells = photo_cells(["none", "fog+shuffle:1", "impulse_noise+prior", "breeds"], ("a", "b"), ("c", "d"))
    told = [(cell.levels, cell.long_tail, cell.base) for cell in cells]
    assert told == [
        ((), False, "b"),
        (("input", "output"), False, "b"),
        (("input",), True, "b"),
        (("feature",), False, "d"),
    ]
    assert isinstance(next(photo_cells(["flip"], ("a", "b"), ("c", "d"))), Cell)
