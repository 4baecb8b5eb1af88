"""Remedies without gradients: closed forms equal slow, obvious versions, and what is saved is what was judged."""

import subprocess
import sys

import numpy as np
import pytest
from simulated_drift import CLASSES, HEAD, LONG_TAIL, Drift, draw, source_card, unlabelled

from tbft.errors import BadInput
from tbft.remedies import Head, Sample, SourceCard
from tbft.remedies.combinations import COMBINATIONS, candidates
from tbft.remedies.head import PENALTIES, SHRINKAGES, SolvedHead, best_scale, one_hot_factor, shrunk
from tbft.remedies.prior import Prior, find_prior, shifted, smoothed
from tbft.remedies.relabel import UNUSED, Merge, Relabel, relabelled
from tbft.remedies.remedy import Adapted, Fit, Size
from tbft.remedies.ridge import Ridge
from tbft.remedies.sample import log_softmax, softmax

EQUAL = np.full(CLASSES, 1 / CLASSES)
FLIP = tuple(range(CLASSES))[::-1]


def without(sample, i):
    return Sample(*(np.delete(part, i, axis=0) for part in (sample.features, sample.logits, sample.labels)))


def few_noisy_labels():
    """So few and so wrong that single images change the map."""
    return draw(14, 3, Drift(new_label=FLIP, noise=0.6))["source"]


def apply(chain, sample):
    card = SourceCard()
    fit = Fit.unchanged(HEAD, card, sample)
    for remedy in chain:
        fit = remedy.apply(fit, sample, card)
    return fit


@pytest.mark.parametrize("chain", [[Prior()], [Relabel()], [Merge()], [Relabel(), Prior()], [Merge(), Prior()]])
def test_held_out_logits_are_those_of_a_fit_without_the_image(chain):
    sample = few_noisy_labels()
    fit = apply(chain, sample)
    for i in range(len(sample)):
        expected = apply(chain, without(sample, i)).whole.head.logits(sample.features[i])
        assert fit.logits[i] == pytest.approx(expected), f"image {i}"


def test_some_of_those_maps_hang_on_a_single_image():
    for remedy in (Relabel(), Merge()):
        assert len(apply([remedy], few_noisy_labels()).held_out) > 1


@pytest.mark.parametrize("shrinkage", SHRINKAGES)
@pytest.mark.parametrize("penalty", (PENALTIES[0], PENALTIES[4]))
@pytest.mark.parametrize("images", [12, 40])  # fewer and more than features
def test_the_solved_head_leaves_each_image_out_exactly(images, penalty, shrinkage):
    sample = draw(images, 4, Drift(moved=1.0))["source"]
    ridge = Ridge(sample.features, sample.labels, CLASSES)
    factor = shrinkage * one_hot_factor(HEAD.logits(sample.features))
    held_out = ridge.held_out(penalty, shrunk(HEAD, sample.features, shrinkage))
    for i in range(images):
        x, y = np.delete(sample.features, i, axis=0), np.eye(CLASSES)[np.delete(sample.labels, i)]
        rest = y - factor * HEAD.logits(x)
        centred = x - x.mean(axis=0)
        gram = centred.T @ centred + penalty * ridge.unit * np.eye(x.shape[1])
        weight = np.linalg.solve(gram, centred.T @ (rest - rest.mean(axis=0)))
        left_out = sample.features[i]
        expected = factor * HEAD.logits(left_out) + (left_out - x.mean(axis=0)) @ weight + rest.mean(axis=0)
        assert held_out[i] == pytest.approx(expected, abs=1e-8)


def test_a_head_shrunk_towards_a_label_map_leaves_out_the_map_too(monkeypatch):
    monkeypatch.setattr("tbft.remedies.head.PENALTIES", (0.3,))
    monkeypatch.setattr("tbft.remedies.head.SHRINKAGES", (1.0,))
    sample = few_noisy_labels()
    fit, ridge = apply([Relabel(), SolvedHead()], sample), Ridge(sample.features, sample.labels, CLASSES)
    start = shrunk(apply([Relabel()], sample).whole.head, sample.features, 1.0)
    scale, _ = best_scale(ridge.held_out(0.3, start), sample.labels)
    for i in range(len(sample)):
        mapped = shrunk(apply([Relabel()], without(sample, i)).whole.head, sample.features, 1.0)
        assert fit.logits[i] == pytest.approx(scale * ridge.held_out(0.3, mapped)[i])


def test_the_solved_head_is_that_of_the_normal_equations():
    sample = draw(60, 5, Drift(moved=1.0))["source"]
    solved = Ridge(sample.features, sample.labels, CLASSES).solve(0.1)
    x, y = sample.features, np.eye(CLASSES)[sample.labels]
    centred = x - x.mean(axis=0)
    strength = 0.1 * len(x) * x.var(axis=0, ddof=1).mean()
    weight = np.linalg.solve(centred.T @ centred + strength * np.eye(x.shape[1]), centred.T @ y).T
    assert solved.weight == pytest.approx(weight) and solved.bias == pytest.approx(y.mean(axis=0) - weight @ x.mean(0))


def test_the_strongest_penalty_keeps_the_head():
    sample = draw(60, 5)["source"]
    solved = Ridge(sample.features, sample.labels, CLASSES).solve(1e9, shrunk(HEAD, sample.features, 1.0))
    assert solved.weight == pytest.approx(one_hot_factor(sample.logits) * HEAD.weight, abs=1e-6)


def test_a_counted_prior_shifts_the_logits_as_bayes_does():
    counts = np.array([8, 1, 1])
    assert smoothed(counts, np.full(3, 1 / 3), 1.0) == pytest.approx([9 / 13, 2 / 13, 2 / 13])
    head = Head(np.eye(3), np.log([0.5, 0.25, 0.25]))
    moved = shifted(Adapted(head, np.array([0.5, 0.25, 0.25])), np.array([0.1, 0.1, 0.8])).head
    assert softmax(moved.logits(np.zeros((1, 3))))[0] == pytest.approx([0.1, 0.1, 0.8])


def test_the_prior_of_unlabelled_images_is_found():
    sample = draw(3000, 6, Drift(prior=tuple(LONG_TAIL)))["source"]
    found = find_prior(sample.logits, EQUAL, 1.0)
    assert found == pytest.approx(np.bincount(sample.labels) / 3000, abs=0.02)


def test_a_label_map_reorders_the_rows():
    sample = draw(120, 7, Drift(new_label=FLIP))["source"]
    fit = apply([Relabel()], sample)
    assert np.array_equal(fit.whole.head.weight, HEAD.weight[::-1])
    assert np.array_equal(fit.whole.head.bias, HEAD.bias[::-1])


def test_classes_that_share_a_label_share_a_row_and_its_prior():
    new_label = np.array([0, 0, 2])
    head = Head(np.array([[1.0, 3.0], [3.0, 5.0], [7.0, 7.0]]), np.array([1.0, 3.0, 5.0]))
    merged = relabelled(Adapted(head, np.full(3, 1 / 3)), new_label)
    assert merged.head.weight.tolist() == [[2, 4], [0, 0], [7, 7]]
    assert merged.head.bias == pytest.approx([2 + np.log(2), UNUSED, 5])
    assert merged.prior == pytest.approx([2 / 3, 0, 1 / 3])
    sample = draw(300, 8, Drift(new_label=(0, 0, 1, 1, 2, 2)))["source"]
    votes = softmax(sample.logits)
    assert Merge().maps(votes, sample.labels)[0].tolist() == [0, 0, 1, 1, 2, 2]


@pytest.mark.parametrize("chain", COMBINATIONS, ids=lambda chain: "+".join(remedy.name for remedy in chain))
def test_what_a_remedy_needs_and_changes_is_what_it_says(chain):
    card, samples = source_card(), draw(120, 9, Drift(sensed=True, new_label=FLIP, prior=tuple(LONG_TAIL)))
    (found,) = (c for c in candidates(samples, HEAD, card, 1e6) if c.remedies == tuple(r.name for r in chain))
    changes = {remedy.changes for remedy in chain}
    assert (found.statistics == "refreshed") == ("statistics" in changes)
    head = found.fit.whole.head
    assert np.array_equal(head.weight, HEAD.weight) == ("head" not in changes)
    assert head.equals(HEAD) == (changes <= {"nothing", "statistics"})
    assert found.cost == sum(remedy.cost(Size(120, 16, CLASSES, 1e6)) for remedy in chain)
    names = {c.remedies for c in candidates(unlabelled(samples), HEAD, card)}
    assert (found.remedies in names) == (not any(remedy.needs_labels for remedy in chain))
    assert not any(remedy.needs_gradients for remedy in chain)


def test_probabilities_survive_large_logits():
    assert log_softmax(np.array([[1e4, 0.0], [-1e4, 1e4]])).tolist() == [[0, -1e4], [-2e4, 0]]


@pytest.mark.parametrize(
    ("features", "logits", "labels", "wrong"),
    [
        (np.zeros((0, 3)), np.zeros((0, 2)), None, "no image"),
        (np.zeros((4, 3)), np.zeros((5, 2)), None, "no one sample"),
        (np.full((4, 3), np.nan), np.zeros((4, 2)), None, "not finite"),
        (np.zeros((4, 3)), np.zeros((4, 2)), np.zeros(3, int), "do not fit 4 images"),
        (np.zeros((4, 3)), np.zeros((4, 2)), np.zeros(4), "whole number"),
    ],
)
def test_a_sample_that_cannot_be_is_explained(features, logits, labels, wrong):
    with pytest.raises(BadInput, match=wrong):
        Sample(features, logits, labels)


def test_neither_torch_nor_scipy_is_imported():
    code = "import sys, tbft.remedies, tbft.diagnosis; print({'torch', 'scipy', 'sklearn'} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert found.stdout.strip() == "set()"
