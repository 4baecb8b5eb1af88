"""Accuracy is counted in whole images."""

import pytest
import torch
import torch.nn.functional as F

from tbft.adaptation.score import Tally
from tbft.remedies.validated import Score, differing
from tbft.training.metrics import metrics_of


def test_equal_counts_are_equal_accuracies_whatever_the_batches():
    logits, labels = torch.randn(49, 5), torch.arange(49) % 5
    scores = []
    for size in (49, 20, 1):
        tally = Tally()
        for x, y in zip(logits.split(size), labels.split(size), strict=True):
            tally.add(x, y)
        scores.append(tally.score())
    right = (logits.argmax(1) == labels).sum().item()
    assert {score.accuracy for score in scores} == {right / 49} and {score.correct for score in scores} == {right}
    for score in scores:
        assert score.loss == pytest.approx(F.cross_entropy(logits, labels).item(), rel=1e-6)
        assert torch.equal(score.right, logits.argmax(1) == labels)


def test_metrics_name_the_accuracy_of_each_class():
    tally = Tally()
    tally.add(torch.eye(3)[[0, 0, 1, 1]], torch.tensor([0, 1, 1, 1]))
    named = metrics_of("test", tally, ("a", "b", "c"))
    assert named["test/accuracy"] == 0.75
    assert [named[f"test/accuracy_of/{name}"] for name in "abc"] == [1.0, 2 / 3, 0.0]


def test_images_are_compared_one_by_one():
    before, after = torch.tensor([True, True, False, False, False]), torch.tensor([True, False, True, True, False])
    assert differing(before, after) == (2, 1)
    assert Score(0.0, after).correct - Score(0.0, before).correct == 1
