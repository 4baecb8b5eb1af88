"""A study in parts, and in shares that several processes work on."""

from pathlib import Path

import pytest

from tbft.errors import BadInput
from tbft.study.running.grid import Study, cells_of
from tbft.study.running.ledger import Ledger
from tbft.study.running.share import check_root, share_of

GRID = {
    "drift": {name: {"data.corruption": name} for name in ("fog", "snow", "frost")},
    "strategy": ["block", "bn"],
    "seed": [0, 1, 2, 3],
}


def study(**changes):
    return Study("x", Path("runs"), **{"grid": GRID, **changes})


def test_shares_are_all_cells_once_and_keep_what_is_compared_together():
    cells = cells_of(study())
    shares = [share_of(cells, f"{number}/5") for number in range(1, 6)]
    assert sorted(cell.key for share in shares for cell in share) == sorted(cell.key for cell in cells)
    for share in shares:
        places = [(cell.labels["drift"], cell.labels["seed"]) for cell in share]
        assert all(places.count(place) == 2 for place in places) and 4 <= len(share) <= 6
        assert share == [cell for cell in cells if cell in share]


@pytest.mark.parametrize("share", ["0/2", "3/2", "1", "a/b", "13/13"])
def test_what_is_no_share_is_refused(share):
    with pytest.raises(BadInput, match="share is"):
        share_of(cells_of(study()), share)


def test_a_share_does_not_take_over_the_folder_of_another(tmp_path):
    first, second = (share_of(cells_of(study()), f"{number}/2") for number in (1, 2))
    Ledger(tmp_path).enter(first)
    check_root(tmp_path, first)
    with pytest.raises(BadInput, match="a --root of its own"):
        check_root(tmp_path, second)


def test_a_part_is_a_label_of_the_cell_and_changes_neither_its_key_nor_its_arguments():
    parts = {"development": ["fog"], "held out": ["snow", "frost", "not in this grid"]}
    plain, apart = cells_of(study()), cells_of(study(parts=parts))
    assert [(cell.key, cell.arguments) for cell in plain] == [(cell.key, cell.arguments) for cell in apart]
    assert all(
        cell.labels["part"] == ("development" if cell.labels["drift"] == "fog" else "held out") for cell in apart
    )
    assert all("part" not in cell.labels for cell in plain)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"parts": {"a": ["fog"]}}, "no part has snow, frost"),
        ({"parts": {"a": ["fog", "snow"], "b": ["snow", "frost"]}}, "snow under a and b"),
        ({"parts": {"a": ["fog"]}, "grid": {"seed": [0]}}, "grid has no axis drift"),
    ],
)
def test_parts_that_do_not_divide_the_drifts_are_refused(changes, says):
    with pytest.raises(BadInput, match=says):
        cells_of(study(**changes))
