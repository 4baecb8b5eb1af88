"""Exact tests and intervals, compared with scipy's and with what can be counted by hand."""

import itertools

import numpy as np
import pytest
from scipy import stats

from tbft.remedies.evidence import (
    binomial_tail,
    clopper_pearson,
    counts_differ,
    fewer_than,
    holm,
    labels_needed,
    largest_gains,
    paired_gain,
    rank_test,
    sign_test,
    wilson,
)


@pytest.mark.parametrize(("successes", "trials", "p"), [(0, 5, 0.3), (3, 5, 0.3), (5, 5, 0.3), (540, 1000, 0.5)])
def test_a_binomial_tail_is_scipys(successes, trials, p):
    assert binomial_tail(successes, trials, p) == pytest.approx(stats.binom.sf(successes - 1, trials, p), rel=1e-9)


@pytest.mark.parametrize(("better", "worse"), [(0, 0), (1, 0), (4, 0), (5, 2), (3, 3), (1, 6), (60, 41)])
def test_the_sign_test_is_the_exact_binomial_test(better, worse):
    expected = stats.binomtest(better, better + worse, alternative="greater").pvalue if better + worse else 1.0
    assert sign_test(better, worse) == pytest.approx(expected)


@pytest.mark.parametrize(("successes", "trials"), [(0, 20), (7, 20), (20, 20), (812, 1000)])
def test_intervals_of_a_proportion_are_scipys(successes, trials):
    reference = stats.binomtest(successes, trials)
    for ours, method in ((clopper_pearson(successes, trials), "exact"), (wilson(successes / trials, trials), "wilson")):
        theirs = reference.proportion_ci(method=method)
        assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=1e-9)


def test_no_image_has_no_accuracy():
    with pytest.raises(ValueError, match="no proportion"):
        clopper_pearson(0, 0)


def test_a_drop_of_accuracy_is_fishers_exact_test():
    theirs = stats.fisher_exact([[60, 40], [420, 80]], alternative="less").pvalue
    assert fewer_than(60, 100, 0.84, 500) == pytest.approx(theirs, rel=1e-9)
    assert fewer_than(60, 100, 0.84) == pytest.approx(stats.binom.cdf(60, 100, 0.84), rel=1e-9)


def test_a_paired_gain_counts_only_the_images_on_which_the_two_differ():
    before = np.array([True] * 50 + [False] * 10 + [True] * 2 + [False] * 8)
    after = np.array([True] * 50 + [True] * 10 + [False] * 2 + [False] * 8)
    gain = paired_gain(before, after)
    assert (gain.better, gain.worse, gain.interval.value) == (10, 2, pytest.approx(8 / 70))
    assert gain.p == pytest.approx(stats.binomtest(10, 12, 0.5, alternative="greater").pvalue)
    # Newcombe (1998), method 10, by hand: Wilson intervals of 60/70 and 52/70.
    (l1, u1), (l2, u2) = ((w.low, w.high) for w in (wilson(60 / 70, 70), wilson(52 / 70, 70)))
    phi = (50 * 8 - 10 * 2) / np.sqrt(60 * 10 * 52 * 18)
    down = np.sqrt((60 / 70 - l1) ** 2 - 2 * phi * (60 / 70 - l1) * (u2 - 52 / 70) + (u2 - 52 / 70) ** 2)
    up = np.sqrt((u1 - 60 / 70) ** 2 - 2 * phi * (u1 - 60 / 70) * (52 / 70 - l2) + (52 / 70 - l2) ** 2)
    assert (gain.interval.low, gain.interval.high) == pytest.approx((8 / 70 - down, 8 / 70 + up))


def test_no_difference_is_no_evidence():
    same = np.array([True, False, True])
    assert paired_gain(same, same).p == 1.0
    assert largest_gains(np.zeros((3, 5))).tolist() == [1.0, 1.0, 1.0]


def test_class_counts_are_tested_exactly():
    counts, prior = np.array([7, 2, 1]), np.array([0.3, 0.3, 0.4])

    def ratio(k):
        return sum(n * np.log(n / (10 * p)) for n, p in zip(k, prior, strict=True) if n)

    every = [k for k in itertools.product(range(11), repeat=3) if sum(k) == 10]
    exact = sum(stats.multinomial.pmf(k, 10, prior) for k in every if ratio(k) >= ratio(counts) - 1e-9)
    assert counts_differ(counts, prior) == pytest.approx(exact, abs=0.015)
    assert counts_differ(np.array([5, 5]), np.array([1.0, 0.0])) < 0.001


def test_the_largest_gain_is_that_of_all_sign_flips():
    d = np.array([[1, 1, 1, 0, -1, 1.0], [0, 1, 0, -1, 1, 0.0]])
    scale = np.sqrt((d**2).sum(axis=1))
    flips = np.array(list(itertools.product((-1, 1), repeat=6)))
    null = (flips @ (d.T / scale)).max(axis=1)
    exact = [(null >= row.sum() / s - 1e-9).mean() for row, s in zip(d, scale, strict=True)]
    assert largest_gains(d) == pytest.approx(exact, abs=0.03)


def test_trying_more_makes_the_same_gain_less_certain():
    rng = np.random.default_rng(0)
    gain = np.where(np.arange(60) < 14, 1.0, np.where(np.arange(60) < 18, -1.0, 0.0))
    others = rng.integers(-1, 2, (20, 60)).astype(float)
    assert largest_gains(gain[None])[0] < 0.03 < largest_gains(np.vstack([gain, others]))[0]
    assert largest_gains(np.vstack([gain] * 20))[0] < 0.03  # the same change twenty times is one change


def test_holm_corrects_as_its_author_did():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])


def test_ranks_are_tested_as_scipy_does():
    rng = np.random.default_rng(1)
    low, high = rng.integers(0, 9, 40).astype(float), rng.integers(1, 10, 60).astype(float)
    theirs = stats.mannwhitneyu(low, high, alternative="less", method="asymptotic").pvalue
    assert rank_test(low, high) == pytest.approx(theirs, rel=1e-6)


def test_so_many_labels_show_the_gain_four_times_of_five():
    gain, differing = 0.08, 0.2
    needed = labels_needed(gain, differing)
    assert needed is not None
    rng = np.random.default_rng(2)
    p = [(differing + gain) / 2, (differing - gain) / 2, 1 - differing]
    better, worse, _ = rng.multinomial(needed, p, size=600).T
    seen = np.mean([binomial_tail(int(b), int(b + w), 0.5) <= 0.05 for b, w in zip(better, worse, strict=True)])
    assert 0.68 < seen < 0.88
    assert labels_needed(0.0, 0.2) is None
