"""What the best choice would have been: every combination of the remedies without gradients, on the test images."""

from __future__ import annotations

from typing import TYPE_CHECKING

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

if TYPE_CHECKING:
    from tbft.adaptation.climb import Climb


def check_can_test(data: LabelledData) -> None:
    """Refuse hindsight without test images.

    Raises:
        BadInput: if there is none.
    """
    if not data.test:
        raise BadInput("ladder.hindsight tests what was tried and there is no image to test on: leave it out")


def score_in_hindsight(climb: Climb) -> None:
    """Write into the climb's trail what each combination gets right on the test images; booked to ``test``.

    Args:
        climb: that has ended; its network is as before when this returns.
    """
    data, classifier = climb.data, climb.classifier
    assert data.train is not None and data.val is not None and data.test is not None
    with climb.meter.phase("test"):
        adapted = copy_weights(classifier.model)
        classifier.model.load_state_dict(climb.keep.base_weights)
        found = accuracies_of_combinations(
            classifier, joined(data.train, data.val), data.test, climb.card, labelled=data.labelled, seed=climb.seed
        )
        classifier.model.load_state_dict(adapted)
    for step in climb.trail:
        if step["cost"] is not None:  # estimated for the remedies without gradients alone
            step["test"] = found.get(tuple(step["remedies"]))


def accuracies_of_combinations(
    classifier: Classifier, sample: Examples, test: Examples, card: SourceCard, *, labelled: bool, seed: int
) -> dict[tuple[str, ...], float]:
    """Accuracy on the test images, a fraction of 1, by combination, each fitted to the whole sample.

    Args:
        classifier: with the base model's weights, placed on its device; refreshed statistics are left in it.
        sample: the images that the combinations are fitted to.
        test: the images that they are tested on.
        card: what is known of the source.
        labelled: whether the sample's labels count.
        seed: draws the batches of the refresh.
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
