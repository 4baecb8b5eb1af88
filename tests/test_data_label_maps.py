"""Output-level drift: maps of labels."""

import pytest
import torch

from tbft.data import Digits
from tbft.data.label_maps import label_map
from tbft.errors import BadInput


def test_flip_is_the_papers():
    assert label_map("flip", 10).tolist() == [9 - y for y in range(10)]


def test_rotate_and_lists():
    assert label_map("rotate:3", 5).tolist() == [3, 4, 0, 1, 2]
    assert label_map("rotate", 3).tolist() == [1, 2, 0]
    assert label_map([1, 1, 0], 3).tolist() == [1, 1, 0]


@pytest.mark.parametrize("seed", range(5))
def test_a_shuffle_moves_every_class(seed):
    new = label_map(f"shuffle:{seed}", 7)
    assert sorted(new.tolist()) == list(range(7)) and not (new == torch.arange(7)).any()
    assert torch.equal(new, label_map(f"shuffle:{seed}", 7))


@pytest.mark.parametrize("spec", ["mirror", "flip:2", "rotate:x", "shuffle:-1", [0, 1], [0, 1, 3], []])
def test_a_wrong_map_is_explained(spec):
    with pytest.raises(BadInput, match="label_map"):
        label_map(spec, 3)


def test_the_pictures_stay_and_the_labels_change():
    plain, flipped = Digits(train_size=300), Digits(train_size=300, label_map="flip")
    for data in (plain, flipped):
        data.setup()
    for ours, theirs in ((plain.train, flipped.train), (plain.test, flipped.test)):
        assert torch.equal(ours.x, theirs.x) and torch.equal(9 - ours.y, theirs.y)
