"""A sample is looked at in as few passes as give what a pass for each answer would give."""

from copy import deepcopy

import numpy as np
import pytest
import torch

from tbft.adaptation.freezing import IMAGES_IN_A_BATCH, refresh_statistics
from tbft.adaptation.observation import look_at, refresh_and_look
from tbft.adaptation.source_card import head_of
from tbft.data.digits import Digits
from tbft.models.classifier import PlainClassifier


@pytest.mark.parametrize("images", [20, 100, IMAGES_IN_A_BATCH, IMAGES_IN_A_BATCH + 1])
def test_refreshed_statistics_and_the_features_under_them_are_those_of_two_passes(images: int) -> None:
    classifier = PlainClassifier()
    classifier.load("digits")
    classifier.describe_images(None, None)
    data = Digits(image_size=16, train_size=images + 40, corruption="contrast")
    data.setup()
    assert data.train is not None
    sample, apart = data.train.subset(range(images)), deepcopy(classifier)
    modes = [module.training for module in classifier.modules()]
    head = head_of(classifier)
    seen = refresh_and_look(classifier, sample, head, labelled=True, seed=0)
    refresh_statistics(apart, sample, 0)
    expected = look_at(apart, sample, head, labelled=True)
    for key, value in apart.model.state_dict().items():
        torch.testing.assert_close(classifier.model.state_dict()[key], value, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(seen.features, expected.features, rtol=0.02, atol=0.02)
    assert (seen.logits.argmax(axis=1) == expected.logits.argmax(axis=1)).mean() > 0.99
    assert [module.training for module in classifier.modules()] == modes
