"""Labels mean the same to the data and to the base model."""

import pytest
import torch

from tbft.data import Digits
from tbft.data.class_names import match_classes
from tbft.errors import BadInput


def test_labels_follow_the_base_model():
    assert match_classes(["cat", "dog", "ox"], ["ox", "cat", "dog"]) == (1, 2, 0)


def test_spelling_is_forgiven():
    assert match_classes(["Fire Truck", "ox"], ["ox", "fire_truck"]) == (1, 0)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (["cat", "dgo", "ox"], ["does not know 'dgo'", "'dog'", "rename dgo to dog"]),
        (["cat", "dog"], ["'ox' of the base model's classes is missing", "add images"]),
        (["cat", "dog", "ox", "yak"], ["does not know 'yak'", "remove"]),
    ],
)
def test_a_mismatch_is_explained(data, words):
    with pytest.raises(BadInput) as error:
        match_classes(data, ["cat", "dog", "ox"])
    assert all(word in str(error.value) for word in words)


def test_every_data_set_is_brought_to_the_base_models_order():
    own, turned = Digits(train_size=300), Digits(train_size=300, base_classes=tuple("9876543210"))
    for data in (own, turned):
        data.setup()
    assert turned.classes == tuple("9876543210")
    assert torch.equal(own.test.x, turned.test.x) and torch.equal(9 - own.test.y, turned.test.y)
