"""Labels mean the same to the data and to the base model."""

import pytest
import torch
from PIL import Image

from tbft.data import Digits, Folder
from tbft.data.class_names import match_classes
from tbft.data.images import label_indices
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


def test_a_sample_may_lack_classes_and_its_spelling_is_forgiven_too():
    assert match_classes(["Fire Truck"], ["ox", "fire_truck", "cat"], may_lack=True) == (1,)
    y, names, _ = label_indices(["Ox", "Fire Truck"], 2, ("ox", "fire_truck", "cat"), 3)
    assert y.tolist() == [0, 1] and names == ("ox", "fire_truck", "cat")
    with pytest.raises(BadInput, match=r"1 of the data\): .*'fire_trck'; rename fire_trck to fire_truck"):
        match_classes(["fire_trck"], ["ox", "fire_truck", "cat"], may_lack=True)


def test_class_folders_without_all_classes_may_be_spelt_otherwise(tmp_path):
    for name in ("Fire Truck", "ox"):
        (tmp_path / name).mkdir()
        for i in range(4):
            Image.new("RGB", (8, 8), (40 * i, 9, len(name))).save(tmp_path / name / f"{i}.png")
    data = Folder(str(tmp_path), image_size=8, test_size=0, base_classes=("ox", "fire_truck", "cat"))
    data.must_split = False
    data.setup()
    assert data.classes == ("ox", "fire_truck", "cat") and set(data.train.y.tolist()) <= {0, 1}


def test_every_data_set_is_brought_to_the_base_models_order():
    own, turned = Digits(train_size=300), Digits(train_size=300, base_classes=tuple("9876543210"))
    for data in (own, turned):
        data.setup()
    assert turned.classes == tuple("9876543210")
    assert torch.equal(own.test.x, turned.test.x) and torch.equal(9 - own.test.y, turned.test.y)
