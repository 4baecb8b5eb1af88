"""What drifted, how sure, and what to do: simulated drifts far from every threshold."""

import json

import numpy as np
import pytest
from simulated_drift import CLASSES, HEAD, LONG_TAIL, Drift, accuracy, draw, source_card, unlabelled

from tbft.adaptation.observation import Observation
from tbft.diagnosis import diagnose
from tbft.diagnosis.looking import look_until_decided
from tbft.remedies import Sample, SourceCard
from tbft.remedies.label_free import calibrated_to, estimate_accuracy, threshold_accuracy
from tbft.remedies.parts import images_at
from tbft.remedies.sample import correct, softmax
from tbft.remedies.signs import labelled_signs

CARD = source_card()
FLIP = tuple(range(CLASSES))[::-1]


@pytest.mark.parametrize(
    ("drift", "levels"),
    [
        (Drift(), set()),
        (Drift(sensed=True), {"input"}),
        (Drift(new_label=FLIP), {"output"}),
        (Drift(prior=tuple(LONG_TAIL)), {"prior"}),
        (Drift(moved=2.5), {"feature"}),
        (Drift(sensed=True, new_label=FLIP), {"input", "output"}),
        (Drift(sensed=True, prior=tuple(LONG_TAIL)), {"input", "prior"}),
    ],
)
def test_the_levels_that_drifted_are_named(drift, levels):
    assert set(diagnose(draw(300, 1, drift), HEAD, CARD).levels) == levels


def test_classes_that_do_not_appear_are_other_shares_and_no_label_map():
    for seed in range(3):
        clear = draw(200, seed, Drift(prior=(0.4, 0.3, 0.3, 0.0, 0.0, 0.0)))["source"]
        features = clear.features + np.random.default_rng(seed).normal(size=clear.features.shape)
        sample = Sample(features, HEAD.logits(features), clear.labels)
        assert diagnose({"source": sample}, HEAD, CARD).levels == ("prior",)


def test_classes_that_share_a_label_are_a_label_map():
    assert set(diagnose(draw(200, 1, Drift(new_label=(0, 1, 2, 3, 0, 5))), HEAD, CARD).levels) == {"output"}


@pytest.mark.parametrize(
    ("drift", "images", "levels"),
    [
        (Drift(sensed=True, moved=1.0), 60, {"input"}),
        (Drift(sensed=True, moved=1.5, prior=(0.4, 0.3, 0.3, 0.0, 0.0, 0.0)), 100, {"input", "prior", "feature"}),
    ],
)
def test_a_changed_sensor_is_named_beside_other_drifts_in_a_small_sample(drift, images, levels):
    for seed in range(5):
        assert set(diagnose(draw(images, seed, drift), HEAD, CARD).levels) == levels


def test_wrong_labels_are_told_from_sub_populations_behind_a_changed_sensor_too():
    noisy, moved = (draw(300, 1, Drift(sensed=True, **more)) for more in ({"noise": 0.4}, {"moved": 2.5}))
    assert diagnose(noisy, HEAD, CARD).has_wrong_labels and not diagnose(moved, HEAD, CARD).has_wrong_labels


def test_without_a_card_all_labels_are_looked_at_before_the_base_model_is_kept():
    whole = draw(600, 1)
    for card, images in ((CARD, 200), (SourceCard(), 600)):

        def observe(positions):
            samples = {state: images_at(sample, positions) for state, sample in whole.items()}
            return Observation(samples, HEAD, 1.0, {}, {})

        look = look_until_decided(observe, 600, np.random.default_rng(0).permutation(600), card, classes=CLASSES)
        assert len(look.positions) == look.diagnosis.images == images and look.diagnosis.verdict == "keep"


def test_noisy_labels_are_no_drift():
    diagnosis = diagnose(draw(300, 1, Drift(noise=0.4)), HEAD, CARD)
    assert diagnosis.levels == () and any("check the labels" in sentence for sentence in diagnosis.advice)
    assert diagnosis.has_wrong_labels
    assert not any(diagnose(draw(300, 1, Drift(moved=moved)), HEAD, CARD).has_wrong_labels for moved in (0, 2.5))


def test_levels_are_named_without_a_card_where_a_remedy_shows_them():
    assert set(diagnose(draw(300, 1, Drift(sensed=True, new_label=FLIP)), HEAD).levels) == {"input", "output"}


def test_a_map_that_hangs_on_single_images_asks_for_labels():
    whole = draw(120, 4, Drift(new_label=(3, 2, 1, 0, 5, 4)))["source"]
    labels = whole.labels
    # Of the last two classes, which are swapped, two images of one and none of the other.
    kept = np.sort(np.concatenate([np.flatnonzero(labels < 4), np.flatnonzero(labels == 5)[:2]]))
    few = Sample(whole.features[kept], whole.logits[kept], labels[kept])
    for sample, hangs in ((few, True), (whole, False)):
        advice = diagnose({"source": sample}, HEAD, CARD).advice
        assert any("the label map hangs on" in sentence for sentence in advice) is hangs


def test_what_is_left_is_offered_to_training():
    blind = SourceCard(accuracy=0.99, images=2000)
    diagnosis = diagnose(draw(300, 2, Drift(sensed=True, noise=0.2)), HEAD, blind)
    assert diagnosis.choice.left is not None and diagnosis.choice.left.low > 0.1
    assert any("training a block may pay" in sentence for sentence in diagnosis.advice)
    assert not any("training" in sentence for sentence in diagnose(draw(300, 2), HEAD, CARD).advice)


def test_accuracy_is_estimated_without_labels():
    for drift, least in ((Drift(), 0.03), (Drift(sensed=True), 0.1)):
        diagnosis = diagnose(unlabelled(draw(1000, 3, drift)), HEAD, CARD)
        truth = accuracy("source", HEAD, drift)
        assert diagnosis.accuracy is not None and abs(diagnosis.accuracy.value - truth) < least
        assert diagnosis.accuracy.low <= truth <= diagnosis.accuracy.high


def test_on_the_source_as_many_are_above_the_threshold_as_are_right():
    sample = draw(2000, 99)["source"]
    assert threshold_accuracy(sample, CARD).value == pytest.approx(CARD.accuracy, abs=0.002)


def test_probabilities_are_calibrated_to_an_accuracy():
    logits = draw(200, 5, Drift(sensed=True))["source"].logits
    assert calibrated_to(logits, 0.6).max(axis=1).mean() == pytest.approx(0.6, abs=1e-6)


def test_the_refreshed_model_judges_one_that_has_lost_confidence():
    samples = unlabelled(draw(1000, 6, Drift(sensed=True)))
    truth = accuracy("source", HEAD, Drift(sensed=True))
    alone, both = estimate_accuracy({"source": samples["source"]}, CARD), estimate_accuracy(samples, CARD)
    assert both.value <= alone.value and abs(both.value - truth) < 0.1


def test_a_lost_model_that_nothing_brings_back_asks_for_labels():
    diagnosis = diagnose(unlabelled(draw(300, 7, Drift(moved=3.0))), HEAD, CARD)
    assert diagnosis.levels == () and diagnosis.verdict == "keep"
    assert any(sentence.startswith("collect 30 labels") for sentence in diagnosis.advice)
    assert "confidence" in diagnosis.reason and "only labels can show" in diagnosis.table()


def test_predictions_that_fall_into_a_few_classes_are_not_called_lost_confidence():
    samples = unlabelled(draw(300, 7))
    features = samples["source"].features + 8 * HEAD.weight[0]  # every image looks like class 0, surely
    samples["source"] = Sample(features, HEAD.logits(features))
    diagnosis = diagnose(samples, HEAD, CARD)
    assert diagnosis.levels == ("input",) and diagnosis.signs[0].p > 0.5
    assert "confidence" not in diagnosis.reason and "fallen into a few classes" in diagnosis.reason


def test_without_labels_it_says_whether_they_are_worth_collecting():
    right, drifted = (diagnose(unlabelled(draw(1000, 3, drift)), HEAD, CARD) for drift in (Drift(), Drift(sensed=True)))
    assert any(sentence.startswith("labels may pay") for sentence in drifted.advice) == (
        drifted.choice.left.low > 0 and drifted.choice.left.value >= 0.03
    )
    assert all(any("changed their meaning" in sentence for sentence in d.advice) for d in (right, drifted))


@pytest.mark.parametrize("images", [3, 60])
@pytest.mark.parametrize("drift", [Drift(), Drift(sensed=True), Drift(noise=1.0), Drift(noise=0.4), Drift(moved=3)])
def test_it_always_says_what_to_do(images, drift):
    samples = draw(images, 5, drift)
    for sample, card in ((samples, CARD), (samples, None), (unlabelled(samples), CARD), (unlabelled(samples), None)):
        diagnosis = diagnose(sample, HEAD, card)
        assert diagnosis.advice and diagnosis.table().splitlines()[-1] == f"- {diagnosis.advice[-1]}"


def test_too_few_labels_to_tell_label_maps_apart_ask_for_a_number_of_them():
    diagnosis = diagnose(draw(8, 3, Drift(new_label=FLIP)), HEAD, CARD)
    assert diagnosis.verdict == "cannot tell"
    assert any(sentence.startswith("collect 22 more labels") for sentence in diagnosis.advice)  # 5 of each of 6 classes


def test_no_drift_says_what_so_few_labels_could_miss():
    few, many = (diagnose(draw(images, 1), HEAD, CARD) for images in (20, 3000))
    assert few.accuracy is not None and CARD.accuracy is not None
    missed = 100 * (CARD.accuracy - few.accuracy.low)
    assert any(f"20 labels could miss a loss of up to {missed:.0f} points" in sentence for sentence in few.advice)
    assert not any("could miss" in sentence for sentence in many.advice)


def test_each_remedy_says_what_it_gains_over_the_base_and_what_it_costs():
    samples = draw(200, 3, Drift(sensed=True))
    diagnosis = diagnose(samples, HEAD, CARD, forward=1e6)
    offers = {offer.remedies: offer for offer in diagnosis.offers}
    labels = samples["source"].labels
    right = [(samples[state].logits.argmax(axis=1) == labels).mean() for state in ("source", "refreshed")]
    gain = offers[("refresh",)].gain
    assert gain.value == pytest.approx(right[1] - right[0]) and gain.low < gain.value < gain.high
    assert offers[("refresh",)].passes == 2 and offers[("keep",)].passes == 0 and offers[("keep",)].gain is None
    assert [offer.remedies for offer in diagnosis.offers if offer.chosen] == [diagnosis.choice.remedies]
    unknown = diagnose(samples, HEAD, CARD)
    assert unknown.offers[0].passes is None and "forward passes" not in unknown.table()


def test_the_intervals_of_shares_and_confidence_cover_the_truth():
    drift = Drift(sensed=True, prior=tuple(LONG_TAIL))
    logits = draw(20000, 0, drift)["source"].logits
    lost = CARD.confidences.mean() - softmax(logits / CARD.temperature).max(axis=1).mean()
    truth = {"class shares": np.abs(LONG_TAIL - CARD.prior).sum() / 2, "confidence": lost}
    covered = dict.fromkeys(truth, 0)
    for seed in range(1, 41):
        sample = draw(100, seed, drift)["source"]
        for sign in labelled_signs(sample, sample.labels, [correct(sample.logits, sample.labels)], CARD):
            if sign.name in truth:
                covered[sign.name] += sign.effect.low <= truth[sign.name] <= sign.effect.high
                assert sign.effect.low <= sign.effect.value <= sign.effect.high
    assert min(covered.values()) >= 34  # 38 of 40 expected at 95 %


def test_a_label_map_that_changes_nothing_is_told_once():
    diagnosis = diagnose(draw(300, 3, Drift(sensed=True)), HEAD, CARD)
    same = {offer.remedies: offer.same_as for offer in diagnosis.offers}
    assert same[("refresh", "relabel")] == ("refresh",) and same[("refresh",)] is None
    lines = diagnosis.table().splitlines()
    assert any(line.startswith("refresh  ") for line in lines)
    assert not any(line.startswith("refresh + relabel  ") for line in lines)


def test_a_single_error_of_a_sure_model_is_no_doubt_in_the_labels():
    samples = draw(20, 2)
    sure = 30 * samples["source"].logits
    wrong = (sure.argmax(axis=1) != samples["source"].labels).sum()
    sample = Sample(samples["source"].features, sure, samples["source"].labels)
    labels = diagnose({"source": sample}, HEAD, CARD).findings[-1]
    assert labels.level == "labels" and wrong > 0 and labels.p > 0.01


@pytest.mark.parametrize("labelled", [True, False])
def test_a_diagnosis_can_be_written_and_read(labelled):
    samples = draw(100, 8, Drift(sensed=True))
    diagnosis = diagnose(samples if labelled else unlabelled(samples), HEAD, CARD)
    written = json.loads(json.dumps(diagnosis.as_dict(), allow_nan=False))
    assert written["levels"] == ["input"] and written["labelled"] is labelled and written["images"] == 100
    assert written["chosen"]["remedies"] == list(diagnosis.choice.remedies)
    assert [step["accepted"] for step in written["remedies"]] == [step.accepted for step in diagnosis.choice.steps]
    table = diagnosis.table()
    assert "drift     input" in table and "refresh" in table and max(map(len, table.splitlines())) <= 140


def test_a_sample_that_tells_nothing_is_diagnosed_as_that():
    samples = draw(100, 9, Drift(noise=1.0))
    diagnosis = diagnose(samples, HEAD, CARD)
    assert diagnosis.verdict == "cannot tell" and diagnosis.levels == ()
    assert "cannot tell" in diagnosis.table() and "training" not in " ".join(diagnosis.advice)


@pytest.mark.parametrize("card", [CARD, SourceCard()], ids=["card", "no card"])
@pytest.mark.parametrize("drift", [Drift(), Drift(sensed=True), Drift(noise=0.6), Drift(moved=3)])
@pytest.mark.parametrize("images", [4, 60, 600])
def test_without_labels_it_always_says_that_it_cannot_see_a_label_map(card, drift, images):
    advice = diagnose(unlabelled(draw(images, 3, drift)), HEAD, card).advice
    assert any("do not show whether the labels changed their meaning" in sentence for sentence in advice)
