"""Super-classes over an ImageNet-style tree."""

import numpy as np
import pytest
import yaml
from PIL import Image

from tbft.data import Breeds
from tbft.data.breeds import read_table
from tbft.errors import BadInput

TABLE = {
    "zoo": {"source": ["n01", "n02"], "target": ["n03", "n04"]},
    "car": {"source": ["n05", "n06"], "target": ["n07", "n08"]},
}


@pytest.fixture
def tree(tmp_path):
    """Every wnid has a grey level of its own: 20 times its number."""
    (tmp_path / "table.yaml").write_text(yaml.safe_dump(TABLE, sort_keys=False))
    for part, count in (("train", 6), ("val", 2)):
        for number in range(1, 9):
            folder = tmp_path / part / f"n0{number}" / ("images" if number == 3 else "")
            folder.mkdir(parents=True)
            for i in range(count):
                Image.fromarray(np.full((12, 12), 20 * number, np.uint8)).save(folder / f"n0{number}_{i}.JPEG")
    return tmp_path


def opened(tree, **options):
    data = Breeds(str(tree), table=str(tree / "table.yaml"), image_size=8, **options)
    data.setup()
    return data


@pytest.mark.parametrize(("domain", "wnids"), [("source", [1, 2, 5, 6]), ("target", [3, 4, 7, 8])])
def test_each_domain_shows_its_own_wnids(tree, domain, wnids):
    data = opened(tree, domain=domain)
    assert data.classes == ("zoo", "car")
    assert (len(data.train) + len(data.val), len(data.test)) == (24, 8)
    for part in (data.train, data.test):
        numbers = (part.x.float().mean((1, 2, 3)) / 20).round().int()
        assert set(numbers.tolist()) == set(wnids)
        assert ((numbers > 4).long() == part.y).all()


def test_val_tests_and_the_papers_split_leaves_it_out(tree):
    assert all("/val/" in name for name in opened(tree, train_size=10).test_names)
    paper = opened(tree, split="paper", train_size=8)
    assert [len(part) for part in (paper.train, paper.val, paper.test)] == [8, 4, 4]
    assert all("/train/" in name for name in paper.test_names)


def test_a_tree_without_val_tests_on_what_is_left(tree):
    (tree / "val").rename(tree / "other")
    data = opened(tree, train_size=12)
    assert len(data.test) == 12


def test_missing_wnids_are_named(tree):
    for name in ("n04", "n07"):
        (tree / "train" / name).rename(tree / name)
    with pytest.raises(BadInput, match=r"train lacks 2 of the 4 wnids of the target domain \(n04, n07\)"):
        opened(tree)
    assert opened(tree, domain="source")


@pytest.mark.parametrize("variant", ["rand", "good", "bad"])
def test_living17_has_17_superclasses_of_two_and_two(variant):
    table = read_table("living17", variant)
    assert len(table) == 17
    assert all(len(of["source"]) == len(of["target"]) == 2 for of in table.values())
    assert list(table)[:3] == ["salamander", "turtle", "lizard"] and list(table)[-1] == "monkey"


def test_tiny_breeds_has_ten_superclasses():
    assert len({wnid for of in read_table("tiny_breeds").values() for w in of.values() for wnid in w}) == 40


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("[1, 2]", "is no table"),
        ("a: {source: [n1], target: []}", "'a' lists no target wnids"),
        ("a: {source: [n1], target: [n1]}", "n1 stands under a source and a target"),
        ("a: {source: [n1", "cannot be read as YAML"),
        ("good: {a: {source: [n1], target: [n2]}}", "no variant 'rand': choose data.variant among good"),
    ],
)
def test_a_wrong_table_is_explained(tmp_path, content, words):
    (tmp_path / "t.yaml").write_text(content)
    with pytest.raises(BadInput, match=words):
        read_table(str(tmp_path / "t.yaml"))


def test_a_table_without_variants_has_none_to_choose():
    with pytest.raises(BadInput, match=r"tiny_breeds is one table and has no variant 'good'"):
        read_table("tiny_breeds", "good")


def test_an_unknown_table_names_the_known_ones():
    with pytest.raises(BadInput, match="living17, tiny_breeds"):
        read_table("living18")
