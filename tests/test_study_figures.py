"""Figures that can be read, in print and by the colour-blind."""

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from study_stand_in import write_ledger

from tbft.study.reporting.chart_style import LOOKS, few_ticks
from tbft.study.reporting.energy_figures import learning_curves, median_curve, pareto, pareto_front
from tbft.study.reporting.ledger_reading import read_ledger
from tbft.study.reporting.record import CurvePoint
from tbft.study.reporting.results import AMP, ORDER, Results

# how linear RGB looks to the deuteranope and the protanope (Machado, Oliveira and Fernandes, 2009)
VISION = {
    "full": np.eye(3),
    "deuteranope": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]]
    ),
    "protanope": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
}


def lab(colour: str, vision: np.ndarray) -> np.ndarray:
    """CIE L*a*b* (D65) of a colour as it is seen."""
    srgb = np.array([int(colour[index : index + 2], 16) / 255 for index in (1, 3, 5)])
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]) @ np.clip(
        vision @ linear, 0, 1
    )
    x, y, z = np.cbrt(xyz / (0.9505, 1.0, 1.089))
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("vision", VISION)
def test_every_strategy_has_a_colour_that_everyone_can_tell_from_the_others(vision: str) -> None:
    assert {name for name in ORDER if not name.endswith(AMP)} == set(LOOKS)
    seen = {name: lab(look.colour, VISION[vision]) for name, look in LOOKS.items()}
    apart = {pair: float(np.linalg.norm(seen[pair[0]] - seen[pair[1]])) for pair in combinations(seen, 2)}
    assert min(apart.values()) > 10, min(apart, key=lambda pair: apart[pair])
    assert len({look.marker for look in LOOKS.values()}) == len(LOOKS)


@pytest.mark.parametrize(("low", "high"), [(80, 2500), (1300, 2600), (450, 700), (900, 1100), (3, 9e5), (0.2, 0.9)])
def test_a_logarithmic_axis_has_three_or_four_labels(low: float, high: float) -> None:
    ticks = few_ticks(low, high)
    assert 3 <= len(ticks) <= 5
    assert ticks == sorted(ticks)
    assert all(low <= tick <= high for tick in ticks)


def test_a_median_curve_goes_as_far_as_half_of_the_runs() -> None:
    def curve(*joules: float) -> list[CurvePoint]:
        return [CurvePoint(accuracy=0.1 * place, joules=each) for place, each in enumerate(joules)]

    middle = median_curve([curve(1, 2, 9), curve(3, 4), curve(5, 9)])
    assert [(point.joules, point.accuracy) for point in middle] == [(3, 0.0), (4, 0.1)]


def test_the_pareto_front_is_what_nothing_beats() -> None:
    chance = np.random.default_rng(0)
    points = [(float(c), float(v)) for c, v in chance.integers(0, 8, (40, 2))]
    slow = {p for p in points if not any(q[0] <= p[0] and q[1] >= p[1] and q != p for q in points)}
    assert set(pareto_front(points)) == slow


def test_strategies_have_whiskers_over_seeds_and_one_curve_before_their_runs(tmp_path: Path) -> None:
    write_ledger(tmp_path)
    results = Results(read_ledger(tmp_path)[0])
    drawn, curves = pareto(results).figure(), learning_curves(results).figure()
    assert all(bars.has_yerr for axis in drawn.axes for bars in axis.containers)
    named = [axis.get_legend_handles_labels()[1] for axis in curves.axes]
    assert all(len(names) == len(set(names)) for names in named)
    assert sum(len(axis.lines) for axis in curves.axes) == len(results.records) + sum(map(len, named))
