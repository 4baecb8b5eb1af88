"""A diagnosis as a picture: whole, readable on a telephone, and the same as the table."""

import sys
from itertools import combinations

import pytest
from simulated_drift import CLASSES, HEAD, Drift, draw, source_card, unlabelled

from tbft.diagnosis import Diagnosis, diagnose
from tbft.errors import BadInput

CARD = source_card()
FLIP = tuple(range(CLASSES))[::-1]
PHONE = 400  # pixels

TRAINING = {"align": 2.14, "input block": 13.5, "feature block": 4.5, "full": 15.0}
both = draw(300, 1, Drift(sensed=True, new_label=FLIP))
CASES = {
    "two drifts": diagnose(both, HEAD, CARD, forward=1e6, training=TRAINING),
    "without a card": diagnose(both, HEAD),
    "no drift": diagnose(draw(20, 1), HEAD, CARD, forward=1e6),
    "without labels": diagnose(unlabelled(draw(60, 1, Drift(sensed=True))), HEAD, CARD, forward=1e6),
    "lost": diagnose(unlabelled(draw(300, 7, Drift(moved=3.0))), HEAD, CARD, forward=1e6),
    "cannot tell": diagnose(draw(60, 9, Drift(noise=1.0)), HEAD, CARD, forward=1e6),
    "fewer labels than classes": diagnose(draw(3, 1), HEAD, CARD),
    "nothing known": diagnose(unlabelled(draw(20, 1)), HEAD),
}


@pytest.mark.parametrize("diagnosis", CASES.values(), ids=CASES)
def test_all_words_are_whole_apart_and_large_enough_for_a_telephone(diagnosis: Diagnosis) -> None:
    figure = diagnosis.plot()
    figure.draw_without_rendering()
    whole = figure.bbox
    texts = [*figure.texts, *(text for axis in figure.axes for text in (*axis.texts, axis.xaxis.label))]
    boxes = [text.get_window_extent() for text in texts]
    for text, box in zip(texts, boxes, strict=True):
        assert whole.x0 <= box.x0 and box.x1 <= whole.x1 and whole.y0 <= box.y0 and box.y1 <= whole.y1, text.get_text()
        pixels = text.get_fontsize() / 72 / figure.get_figwidth() * PHONE
        assert pixels >= 10, text.get_text()
    for (text, box), (other, its) in combinations(zip(texts, boxes, strict=True), 2):
        assert not box.overlaps(its), (text.get_text(), other.get_text())


def test_it_shows_levels_gains_costs_and_advice() -> None:
    diagnosis = CASES["two drifts"]
    figure = diagnosis.plot()
    words = [text.get_text() for axis in figure.axes for text in axis.texts]
    assert {"keep", "refresh + relabel"} <= set(words)
    gain = next(offer.gain for offer in diagnosis.offers if offer.remedies == ("refresh", "relabel"))
    assert "align 2.1, input block 14, feature block 4.5, full 15" in figure.axes[-1].get_xlabel()
    assert f"{100 * gain.value:+.0f} [{100 * gain.low:.0f}, {100 * gain.high:.0f}], 2 passes" in words
    assert " ".join(figure.texts[-1].get_text().split()) == " ".join(f"- {sentence}" for sentence in diagnosis.advice)
    bold = [t.get_text() for axis in figure.axes for t in axis.texts if t.get_fontweight() == "bold"]
    assert [word.partition(":")[0] for word in bold if ":" in word] == list(diagnosis.levels)


def test_the_same_diagnosis_is_the_same_file(tmp_path) -> None:
    for name in ("a.svg", "b.svg", "c.PNG", "d.png"):
        CASES["no drift"].plot(tmp_path / "new" / name)
    files = [(tmp_path / "new" / name).read_bytes() for name in ("a.svg", "b.svg", "c.PNG", "d.png")]
    assert files[0] == files[1] and files[2] == files[3] and files[2][1:4] == b"PNG"


def test_a_notebook_shows_it_by_itself() -> None:
    image, shown = CASES["no drift"].plot()._repr_png_()
    assert image[1:4] == b"PNG" and 400 <= shown["width"] <= 1280


def test_a_picture_that_cannot_be_written_or_drawn_says_why(tmp_path, monkeypatch) -> None:
    with pytest.raises(BadInput, match=r"ends in \.png or \.svg"):
        CASES["no drift"].plot(tmp_path / "x.gif")
    (tmp_path / "file").touch()
    with pytest.raises(BadInput, match="cannot be written"):
        CASES["no drift"].plot(tmp_path / "file" / "x.png")
    monkeypatch.delitem(sys.modules, "tbft.diagnosis_figure")
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)  # as on a device
    with pytest.raises(BadInput, match=r"cannot be drawn here .*table\(\)"):
        CASES["no drift"].plot()
