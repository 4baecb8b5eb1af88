"""The best one-to-one assignment, compared with scipy's."""

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from tbft.remedies.assignment import Assignment


def cost(costs, row_of):
    assert sorted(row_of) == list(range(len(costs)))
    return costs[row_of, np.arange(len(costs))].sum()


def random_costs(rng, size, ties):
    return rng.integers(0, 4, (size, size)).astype(float) if ties else rng.normal(size=(size, size))


@pytest.mark.parametrize("ties", [False, True])
def test_the_sum_is_scipys(ties):
    rng = np.random.default_rng(0)
    for size in [*range(1, 9), 40]:
        costs = random_costs(rng, size, ties)
        assert cost(costs, Assignment(costs).row_of) == pytest.approx(costs[linear_sum_assignment(costs)].sum())


@pytest.mark.parametrize("ties", [False, True])
def test_after_a_column_rises_the_sum_is_again_the_least(ties):
    rng = np.random.default_rng(1)
    for size in [*range(1, 9), 25] * 5:
        costs = random_costs(rng, size, ties)
        assignment = Assignment(costs)
        before = assignment.row_of.copy()
        column, rise = int(rng.integers(size)), 2 * rng.random(size)
        risen = costs.copy()
        risen[:, column] += rise
        assert cost(risen, assignment.changed(column, rise)) == pytest.approx(risen[linear_sum_assignment(risen)].sum())
        assert np.array_equal(assignment.row_of, before)
