"""The front block aligned to the source's moments: better under a changed sensor, harmless without, no labels."""

from copy import deepcopy

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tbft.adaptation.align import align, measure_moments
from tbft.adaptation.evaluation import evaluate
from tbft.adaptation.freezing import refresh_statistics
from tbft.data.digits import Digits
from tbft.export.alignment import source_moments
from tbft.models.classifier import PlainClassifier
from tbft.remedies import Moments


@pytest.fixture(scope="module")
def base():
    classifier = PlainClassifier()
    classifier.load("digits")
    classifier.describe_images(None, None)
    return classifier


@pytest.fixture(scope="module")
def source():
    data = Digits(domain="source", image_size=16)
    data.setup()
    return data.train


def test_moments_are_those_of_every_neighbourhood(base, source):
    moments = measure_moments(base, source, images=7)
    order = torch.randperm(len(source), generator=torch.Generator().manual_seed(0))[:7]
    with torch.no_grad():
        maps = base.model.eval()(source.__getitems__(order.tolist()).x, stop="block2")
    corners = [(i, j) for i in range(0, maps.shape[2] - 2, 2) for j in range(0, maps.shape[3] - 2, 2)]
    vectors = torch.cat([maps[:, :, i : i + 3, j : j + 3].flatten(1) for i, j in corners]).double().numpy()
    assert moments.neighbourhood == 3
    np.testing.assert_allclose(moments.mean, vectors.mean(0), atol=1e-5)
    np.testing.assert_allclose(moments.covariance, np.cov(vectors.T, bias=True), atol=1e-5)


def test_an_export_measures_the_same_moments(base, source):
    card = measure_moments(base, source, images=150)
    order = torch.randperm(len(source), generator=torch.Generator().manual_seed(0))[:150]
    bundle = source_moments(base.model, source.__getitems__(order.tolist()).x, "block1")
    assert card.neighbourhood == bundle.neighbourhood
    np.testing.assert_allclose(bundle.mean, card.mean, rtol=1e-6)
    np.testing.assert_allclose(bundle.covariance, card.covariance, rtol=1e-4, atol=1e-6)


def test_aligning_beats_refreshing_alone_and_does_no_harm_without_drift(base, source):
    moments, gains = measure_moments(base, source), {"contrast": [], None: []}
    for corruption, found in gains.items():
        for seed in range(2):
            data = Digits(image_size=16, corruption=corruption, train_size=100, test_size=600, seed=seed)
            data.setup()
            classifier = deepcopy(base)
            refresh_statistics(classifier, data.train, seed)
            before = evaluate(classifier, data.test).accuracy
            assert align(classifier, data.train, moments, seed)
            refresh_statistics(classifier, data.train, seed)
            found.append(evaluate(classifier, data.test).accuracy - before)
    assert np.mean(gains["contrast"]) > 0.005
    assert np.mean(gains[None]) > -0.01


def test_only_the_front_block_trains_and_labels_have_no_part(base, source):
    moments = measure_moments(base, source, images=50)
    weights = []
    for labels in (source.y[:40], torch.zeros(40, dtype=torch.int64)):
        part = source.subset(range(40))
        part.y = labels
        classifier = deepcopy(base)
        flags = [p.requires_grad for p in classifier.parameters()]
        align(classifier, part, moments, seed=3)
        assert [p.requires_grad for p in classifier.parameters()] == flags
        weights.append(classifier.model.state_dict())
    own = base.model.state_dict()
    changed = {key for key, value in weights[0].items() if not torch.equal(value, own[key])}
    parameters = {key for key in changed if "running" not in key and "num_batches" not in key}
    assert parameters and all(key.startswith(("conv1", "layer1")) for key in parameters)
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in own)


def test_what_diverges_leaves_the_weights_alone(base, source):
    moments = Moments(np.full(144, np.nan), np.eye(144), 3)
    classifier = deepcopy(base)
    assert not align(classifier, source.subset(range(20)), moments, seed=0)
    own = base.model.state_dict()
    assert all(torch.equal(value, own[key]) for key, value in classifier.model.state_dict().items())


def test_a_block_of_many_channels_is_matched_by_channel_or_not_at_all(base, source):
    class Wide(torch.nn.Module):
        def __init__(self, channels):
            super().__init__()
            self.channels = channels

        def forward(self, x):
            return F.pad(x, (0, 0, 0, 0, 0, self.channels - x.shape[1]))

    for channels, size in ((200, 200), (300, None)):
        classifier = deepcopy(base)
        chain = classifier.model.chain()
        classifier.model.chain = lambda found=chain, n=channels: {**found, "block1": (*found["block1"], Wide(n))}
        moments = measure_moments(classifier, source, images=5)
        assert (None if moments is None else len(moments.mean)) == size
