"""Hindsight: the test accuracy of every combination of remedies without gradients, to judge what was chosen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tbft.adaptation.adaptation import Adaptation
from tbft.adaptation.observation import look_at, observe
from tbft.adaptation.standing import copy_weights
from tbft.data.batches import Examples, joined
from tbft.data.labelled import LabelledData
from tbft.errors import BadInput
from tbft.models.classifier import Classifier
from tbft.remedies import REFRESHED, SOURCE, SourceCard
from tbft.remedies.choose import what_labels_lack
from tbft.remedies.combinations import candidates
from tbft.remedies.sample import correct


def check_can_test(data: LabelledData) -> None:
    """Refuse hindsight without test images.

    Raises:
        BadInput: if there are no test images.
    """
    if not data.test:
        raise BadInput("ladder.hindsight tests what was tried and there is no image to test on: leave it out")


def score_in_hindsight(adaptation: Adaptation, card: SourceCard, trail: Sequence[dict[str, Any]]) -> None:
    """Write the test accuracy of each combination into the trail; the cost is booked to the phase ``test``.

    Args:
        adaptation: adaptation that has ended; its weights are restored at the end.
        card: source card of the base model.
        trail: remedies that were tried, as entries of the record.
    """
    data, classifier = adaptation.data, adaptation.classifier
    assert data.train is not None and data.val is not None and data.test is not None
    with adaptation.meter.phase("test"):
        adapted = copy_weights(classifier.model)
        classifier.model.load_state_dict(adaptation.keep.base_weights)
        found = accuracies_of_combinations(
            classifier, joined(data.train, data.val), data.test, card, labelled=data.labelled, seed=adaptation.seed
        )
        classifier.model.load_state_dict(adapted)
    for step in trail:
        if step["cost"] is not None:  # only remedies without gradients have an estimated cost
            step["test"] = found.get(tuple(step["remedies"]))


def accuracies_of_combinations(
    classifier: Classifier, sample: Examples, test: Examples, card: SourceCard, *, labelled: bool, seed: int
) -> dict[tuple[str, ...], float]:
    """Return the test accuracy, a fraction of 1, of each combination of remedies, fitted to the whole sample.

    Args:
        classifier: classifier with the base model's weights, on its device; it keeps the refreshed statistics.
        sample: images that the combinations are fitted to.
        test: images that they are tested on.
        card: source card of the base model.
        labelled: whether the sample's labels may be used.
        seed: seed of the draw of the batches that refresh the statistics.
    """
    labelled = labelled and what_labels_lack(sample.y.cpu().numpy(), classifier.num_classes) is None
    seen = observe(classifier, sample, labelled=labelled, seed=seed)
    tested = {SOURCE: look_at(classifier, test, seen.head, labelled=True)}
    if seen.refreshed:
        classifier.model.load_state_dict(seen.refreshed, strict=False)
        tested[REFRESHED] = look_at(classifier, test, seen.head, labelled=True)
    labels = test.y.cpu().numpy()
    return {
        tried.remedies: float(correct(tried.fit.whole.head.logits(tested[tried.statistics].features), labels).mean())
        for tried in candidates(seen.samples, seen.head, card)
    }
