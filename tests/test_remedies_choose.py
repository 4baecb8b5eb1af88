"""Which remedies a sample calls for: simulated drifts whose verdicts are far from every threshold."""

import numpy as np
import pytest
from simulated_drift import CLASSES, HEAD, LONG_TAIL, Drift, accuracy, draw, source_card, unlabelled

from tbft.errors import BadInput
from tbft.remedies import Head, Sample, SourceCard, choose

CARD = source_card()
FLIP = tuple(range(CLASSES))[::-1]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("images", [30, 100])
def test_without_drift_nothing_changes(images, seed):
    samples = draw(images, seed)
    for choice in (choose(samples, HEAD, CARD), choose(samples, HEAD)):
        assert (choice.verdict, choice.statistics, choice.drifted) == ("keep", "source", False)
        assert choice.head.equals(HEAD) and not any(step.accepted for step in choice.steps[1:])


@pytest.mark.parametrize(
    ("drift", "remedies"),
    [
        (Drift(sensed=True), {"refresh"}),
        (Drift(new_label=FLIP), {"relabel"}),
        (Drift(new_label=FLIP, noise=0.3), {"relabel"}),
        (Drift(sensed=True, new_label=FLIP), {"refresh", "relabel"}),
        (Drift(moved=1.5), {"head"}),
        (Drift(new_label=(0, 0, 1, 1, 2, 2)), {"head"}),  # no linear head predicts as the merged classes together do
    ],
)
def test_each_drift_gets_its_remedy_and_the_accuracy_comes_back(drift, remedies):
    choice = choose(draw(300, 1, drift), HEAD, CARD)
    assert choice.verdict == "adapt" and remedies <= set(choice.remedies)
    before, after = accuracy("source", HEAD, drift), accuracy(choice.statistics, choice.head, drift)
    assert after > before + 0.05 and after > 0.85
    assert choice.accuracy is not None and choice.accuracy.low - 0.02 <= after * (1 - drift.noise) + 0.02


def test_class_shares_alone_are_no_reason_to_refresh():
    drift = Drift(prior=tuple(LONG_TAIL))
    for samples in (draw(300, 2, drift), unlabelled(draw(300, 2, drift))):
        choice = choose(samples, HEAD, CARD)
        assert choice.remedies == ("prior",) and choice.statistics == "source"
        assert accuracy("source", choice.head, drift) >= accuracy("source", HEAD, drift)


def test_a_map_is_learnt_from_few_labels():
    drift = Drift(new_label=(1, 2, 3, 4, 5, 0))
    choice = choose(draw(30, 3, drift), HEAD, CARD)
    assert "relabel" in choice.remedies and accuracy(choice.statistics, choice.head, drift) > 0.95


def test_without_a_card_a_remedy_is_still_found():
    choice = choose(draw(200, 4, Drift(new_label=FLIP)), HEAD)
    assert "relabel" in choice.remedies and choice.left is None


def test_without_refreshed_statistics_the_others_are_tried():
    samples = draw(200, 4, Drift(new_label=FLIP))
    choice = choose({"source": samples["source"]}, HEAD, CARD)
    assert "relabel" in choice.remedies and {step.statistics for step in choice.steps} == {"source"}


def test_each_step_is_on_the_record():
    choice = choose(draw(200, 5, Drift(sensed=True)), HEAD, CARD, forward=1e6)
    first, *rest = choice.steps
    assert first.remedies == ("keep",) and first.accepted and first.cost == 0
    assert len({step.remedies for step in choice.steps}) == len(choice.steps)
    for step in rest:
        assert step.gain is not None and step.reason and 0 < step.p <= 1
        assert step.accuracy.low <= step.accuracy.value <= step.accuracy.high
        assert step.cost >= (2 * 200 * 1e6 if "refresh" in step.remedies else 1)
    accepted = [step for step in choice.steps if step.accepted]
    assert accepted[-1].remedies == choice.remedies


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        (np.zeros(50, int), "all 50 labels are of class 0"),
        (np.array([0, 1, 2]), "3 labels are fewer than the 6 classes"),
        (np.arange(50) % 7, "label 6 is none of this model's 6 classes"),
        (np.arange(50) % 6 - 1, "label -1 is none"),
    ],
)
def test_labels_that_tell_nothing_keep_the_base(labels, says):
    sample = draw(len(labels), 6)["source"]
    choice = choose({"source": Sample(sample.features, sample.logits, labels)}, HEAD, CARD)
    assert choice.verdict == "cannot tell" and choice.reason.startswith("cannot tell: ") and says in choice.reason
    assert choice.head.equals(HEAD)


@pytest.mark.parametrize("seed", range(4))
def test_labels_that_are_all_wrong_are_not_followed(seed):
    choice = choose(draw(150, seed, Drift(noise=1.0)), HEAD, CARD)
    assert choice.verdict == "cannot tell" and choice.head.equals(HEAD) and choice.statistics == "source"


def test_a_gain_that_is_too_small_to_see_asks_for_labels():
    labels, step = np.arange(60) % 4, np.arange(60)
    before, after = (step < 30), (step >= 8) & (step < 44)  # of 60, 14 better and 8 worse
    answers = {"source": before, "refreshed": after}
    head = Head(np.eye(4), np.zeros(4))
    samples = {}
    for statistics, right in answers.items():
        features = 3 * np.eye(4)[np.where(right, labels, (labels + 1 + step // 4 % 3) % 4)]
        samples[statistics] = Sample(features, head.logits(features), labels)
    choice = choose(samples, head, SourceCard(accuracy=0.9, images=1000))
    assert choice.verdict == "undecided" and choice.head.equals(head)
    assert choice.labels_needed is not None and 100 < choice.labels_needed < 600
    assert f"about {choice.labels_needed} labels would show" in choice.reason


def test_unlabelled_images_are_refreshed_only_where_confidence_was_lost():
    for seed in range(4):
        drifted = choose(unlabelled(draw(200, seed, Drift(sensed=True))), HEAD, CARD)
        assert drifted.remedies == ("refresh",) and drifted.head.equals(HEAD)
        still = choose(unlabelled(draw(200, seed)), HEAD, CARD)
        assert still.remedies == ("keep",) and still.verdict == "keep"


@pytest.mark.parametrize(("sure_again", "remedy"), [(0.13, "keep"), (0.4, "keep"), (0.7, "refresh")])
def test_a_refresh_has_to_bring_back_half_of_what_was_lost(sure_again, remedy):
    head = Head(np.eye(4), np.zeros(4))
    card = SourceCard(accuracy=0.9, images=1000, confidences=np.linspace(0.5, 1, 500))

    def confident(share):
        """200 images, of which so many have a confidence of 0.9 and all others one of 0.4."""
        confidence = np.where(np.arange(200) < 200 * share, 0.9, 0.4)
        features = np.log(3 * confidence / (1 - confidence))[:, None] * np.eye(4)[np.arange(200) % 4]
        return Sample(features, head.logits(features))

    choice = choose({"source": confident(0.1), "refreshed": confident(sure_again)}, head, card)
    assert choice.remedies == (remedy,) and choice.drifted
    assert ("collect labels" in choice.reason) == (remedy == "keep")


def test_a_head_of_another_network_is_refused():
    head = Head(HEAD.weight[:, :5], HEAD.bias)
    with pytest.raises(BadInput, match="16 features and 6 classes, the head 5 and 6"):
        choose(draw(20, 0), head, CARD)


@pytest.mark.parametrize("images", [2, 3, 5])
def test_two_classes_and_hardly_an_image_is_no_error(images):
    features = np.arange(images * 3.0).reshape(images, 3)
    head = Head(np.eye(2, 3), np.zeros(2))
    choice = choose({"source": Sample(features, head.logits(features), np.arange(images) % 2)}, head)
    assert choice.head.equals(head)
    assert np.isfinite(choice.tried[-1].fit.logits).all()


def test_without_labels_and_card_nothing_can_be_told():
    choice = choose(unlabelled(draw(100, 0)), HEAD)
    assert choice.verdict == "cannot tell" and "card" in choice.reason and choice.head.equals(HEAD)
