"""Splits are stratified, seeded, disjoint, and keep rare classes."""

import numpy as np
import pytest
from sklearn.model_selection import train_test_split

from tbft.data.splits import device_split, draw, paper_split
from tbft.errors import BadInput

BALANCED = np.repeat(np.arange(10), 1000)
SKEWED = np.repeat(np.arange(5), [400, 200, 50, 7, 3])


def disjoint(split):
    parts = np.concatenate([split.train, split.validation, split.test])
    return len(np.unique(parts)) == len(parts)


@pytest.mark.parametrize("size", [1000, 2000, 3000])
def test_the_papers_split_has_the_papers_sizes(size):
    split = paper_split(BALANCED, size, seed=3)
    assert [len(part) for part in (split.train, split.validation, split.test)] == [size, 1500, 1500]
    assert disjoint(split)
    for part in (split.train, split.validation, split.test):
        assert np.ptp(np.bincount(BALANCED[part])) == 0


def test_the_papers_training_size_changes_neither_validation_nor_test():
    small, large = paper_split(BALANCED, None, seed=1), paper_split(BALANCED, 3000, seed=1)
    assert len(small.train) == 1000
    assert np.array_equal(small.test, large.test) and np.array_equal(small.validation, large.validation)


def test_a_device_validates_on_what_it_has():
    split = device_split(BALANCED, 1000, 0.1, seed=0)
    assert [len(part) for part in (split.train, split.validation, split.test)] == [900, 100, 9000]
    assert disjoint(split)
    assert set(np.bincount(BALANCED[split.validation])) == {10}


def test_the_seed_alone_draws():
    first, again, other = (device_split(BALANCED, 500, 0.2, seed=seed) for seed in (4, 4, 5))
    assert np.array_equal(first.train, again.train) and np.array_equal(first.test, again.test)
    assert not np.array_equal(first.train, other.train)


@pytest.mark.parametrize("size", [37, 100, 333, 600])
def test_shares_are_those_of_scikit_learn_where_it_can(size):
    ours, _ = draw(np.arange(len(SKEWED)), SKEWED, size, seed=0)
    theirs, _ = train_test_split(np.arange(len(SKEWED)), train_size=size, stratify=SKEWED, random_state=0)
    assert np.abs(np.bincount(SKEWED[ours], minlength=5) - np.bincount(SKEWED[theirs], minlength=5)).max() <= 1


def test_each_class_trains_however_rare():
    for seed in range(20):
        split = device_split(SKEWED, 20, 0.1, seed)
        assert set(SKEWED[split.train]) == set(range(5))


def test_a_data_sets_own_parts_are_used_as_they_are():
    own = np.arange(0, len(BALANCED), 10)
    split = device_split(BALANCED, 200, 0.1, 0, own_test=own)
    assert np.array_equal(split.test, own) and disjoint(split)
    split = device_split(BALANCED, 200, 0.1, 0, 50, own_validation=own[::2], own_test=own[1::2])
    assert np.array_equal(split.validation, own[::2]) and disjoint(split)
    assert len(split.train) == 200 and len(split.test) == 50 and set(split.test) <= set(own)


@pytest.mark.parametrize(
    ("size", "test_size", "words"),
    [(10_000, None, "larger"), (9_000, 2_000, "2000 must be left"), (5, None, "each of 10 classes")],
)
def test_impossible_sizes_are_explained(size, test_size, words):
    with pytest.raises(BadInput, match=words):
        device_split(BALANCED, size, 0.1, 0, test_size)


def test_a_training_size_beyond_seventy_percent_is_explained():
    with pytest.raises(BadInput, match="7000 are left"):
        paper_split(BALANCED, 8000, 0)
