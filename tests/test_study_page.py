"""The page leads with the answer, is read on a telephone as on a desk, and calls a thing by one name."""

import html
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from study_stand_in import record, write_ledger, write_record

from tbft.study.reporting.chart import Chart, Panel, draw_alone
from tbft.study.reporting.chart_style import DARK, LOOKS, look_of
from tbft.study.reporting.figures import all_figures
from tbft.study.reporting.intervals import Estimate
from tbft.study.reporting.ledger_reading import read_ledger
from tbft.study.reporting.page import name_tuned_blocks, show_table
from tbft.study.reporting.report import write_report
from tbft.study.reporting.results import AMP, Results
from tbft.study.reporting.table import Table
from tbft.study.reporting.tables import all_tables

STEPS = [
    {"remedies": names, "accuracy": {"value": value, "low": value - 0.1, "high": value + 0.05}, "accepted": accepted}
    for names, value, accepted in (
        (["keep"], 0.3, True),
        (["refresh"], 0.6, True),
        (["refresh", "head"], 0.65, False),
        (["refresh", "align"], 0.7, True),
        (["input block"], 0.72, False),
    )
]


def climb(seed: int) -> dict[str, Any]:
    """A record of a run for which nobody named the drift."""
    steps = [{**step, "cpu_seconds": 0.1 + seed + place} for place, step in enumerate(STEPS)]
    return record("input", "auto", seed, remedies=steps)


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three levels at two sizes, opponents in both number formats, climbs, long names, and a study of its own axis."""
    root = tmp_path_factory.mktemp("ledger")
    write_ledger(root, seeds=(0, 1))
    cells = {}
    for seed in (0, 1):
        write_record(root, f"auto{seed}", climb(seed))
        write_record(root, f"amp{seed}", record("input", f"tuned-full{AMP}", seed))
        for strategy in ("block", "tuned-full"):
            key = f"other-{strategy}-{seed}"
            write_record(root, key, record("feature", strategy, seed))
            labels = {"base": "a_network_with_quite_a_long_name_indeed", "strategy": strategy, "seed": str(seed)}
            cells[key] = {"labels": labels}
    (root / "study.json").write_text(json.dumps({"schema": 1, "cells": cells}))
    return root


@pytest.fixture(scope="module")
def page(ledger: Path) -> str:
    return (write_report(ledger).folder / "report.html").read_text()


@pytest.fixture(scope="module")
def charts(ledger: Path) -> dict[str, Chart]:
    return all_figures(Results(read_ledger(ledger)[0]))


class Elements(HTMLParser):
    """The elements of a page, each with its attributes, and the text of each kind of element."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.attributes: list[dict[str, str]] = []
        self.texts: list[tuple[str, str]] = []
        self._open = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._open = tag
        self.attributes.append({name: value or "" for name, value in attrs})

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.texts.append((self._open, data.strip()))


def test_the_answer_comes_first_then_its_figure_then_tables_then_other_figures(page: str) -> None:
    body = page[page.index("<body>") :]
    order = ['class="answer"', "<svg", "<table", "Up the ladder of remedies"]
    assert [body.index(each) for each in order] == sorted(body.index(each) for each in order)
    assert "In 4 comparisons with full fine-tuning" in body[: body.index("<svg")]


def test_the_figure_of_the_answer_is_of_the_whole_process_where_the_records_have_that(tmp_path: Path) -> None:
    for until, expected in (("record", "the energy of one adaptation"), ("exit", "the energy of the whole process")):
        for seed in (0, 1):
            for strategy in ("block", "tuned-full"):
                content = record("input", strategy, seed)
                content["process"]["until"] = until
                write_record(tmp_path, f"{strategy}{seed}", content)
        found = all_figures(Results(read_ledger(tmp_path)[0]))
        assert expected in found["answer"].caption
        axis = draw_alone(found["answer"].panels[0]).axes[0]
        assert expected.removeprefix("the energy of ") in axis.get_xlabel()
        assert (found["answer"] is found["pareto"]) == (until == "record")


def texts_of(figure: Figure) -> list[Text]:
    """Texts that are drawn; a tick's that is out of sight is not."""
    drawn: list[Text] = []
    draw = Text.draw

    def collect(self: Text, *args: Any, **kwargs: Any) -> None:
        drawn.append(self)
        draw(self, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Text, "draw", collect)
        FigureCanvasAgg(figure).draw()
    return [text for text in drawn if text.get_visible() and text.get_text().strip()]


def outside(figure: Figure) -> list[str]:
    """Texts that reach over the edge of their figure by more than a pixel."""
    (left, bottom), (right, top) = figure.bbox.padded(1).get_points()
    boxes = {text.get_text(): text.get_window_extent() for text in texts_of(figure)}
    assert boxes
    return [
        text for text, b in boxes.items() if not (left <= b.x0 and b.x1 <= right and bottom <= b.y0 and b.y1 <= top)
    ]


def test_all_text_of_every_figure_is_inside_it(charts: dict[str, Chart]) -> None:
    assert set(charts) == {"answer", "bars", "pareto", "ladder", "phases", "curves"}
    for name, chart in charts.items():
        for figure in (chart.figure(), *map(draw_alone, chart.panels)):
            assert not outside(figure), name
    wide = Figure(figsize=(1, 1))
    wide.text(0.5, 0.5, "a text that is wider than its figure")
    assert outside(wide)


def test_nothing_on_the_page_is_as_wide_as_to_be_cut(page: str) -> None:
    shown = Elements(page)
    assert all("width" not in each and "height" not in each for each in shown.attributes if "viewbox" in each)
    panels = [each for each in shown.attributes if "aria-label" in each]
    assert len(panels) > 10
    assert {float(each["viewbox"].split()[2]) for each in panels} == {280.8}  # points: legible on a telephone


def test_the_texts_of_a_figure_stay_as_they_are() -> None:
    def draw(axis: Any) -> None:
        axis.set_xticks([0.5], ["0.12345"])
        axis.set_ylabel('<b>#1a1a1a</b> & 1.23456 id="x" font: 9px y')

    ((svg,), _) = Chart("Any", "Any.", [Panel("One", draw)]).drawn_apart("any")
    texts = [html.unescape(text) for text in re.findall(r"<text[^>]*>([^<]*)</text>", svg)]
    assert '<b>#1a1a1a</b> & 1.23456 id="x" font: 9px y' in texts and "0.12345" in texts
    assert not re.search(r"\.\d{3}", "".join(re.findall(r"<[^>]*>", svg)))


def test_what_figures_refer_to_is_there_once(page: str) -> None:
    ids = re.findall(r'\sid="([^"]+)"', page)
    referred = re.findall(r'(?:url\(|href=")#([^)"]+)', page)
    assert len(ids) == len(set(ids)) and set(referred) <= set(ids) and len(referred) > 100


def test_a_colour_that_a_dark_page_would_hide_can_be_changed_by_it(page: str) -> None:
    figures, declared = page[page.index("<body>") :], page[: page.index("<body>")]
    for colour, instead in DARK.items():
        assert f"--c{colour[1:].lower()}: {instead};" in declared
        assert not re.findall(rf"(?<!, ){colour.lower()}", figures)


def test_tbft_has_one_name_in_tables_and_figures(page: str) -> None:
    texts = [text for _, text in Elements(page).texts]
    assert "TBFT" in texts and "block1" in texts
    assert not [text for text in texts if re.fullmatch(r"block(,(?! refused).*)?", text)]


def test_tables_name_the_block_that_was_tuned() -> None:
    columns, row = ("figures", "level", "TBFT", "strategy"), ("ours", "feature", "block", "block")
    paper = ("paper", "feature", "block", "block2")
    table = Table("any", "Any", columns, (row, paper))
    named = name_tuned_blocks(table, {"feature": "block4"})
    assert named.rows == (("ours", "feature", "block4", "TBFT"), ("paper", "feature", "block3", "block2"))
    assert name_tuned_blocks(table, {}).rows[0][2] == "TBFT"


def test_a_note_is_told_once(page: str) -> None:
    notes = re.findall(r'<p class="(?:note|caption)">([^<]*)</p>', page)
    assert len(notes) == len(set(notes)) > 5


def test_a_row_says_what_it_is_of_and_keeps_its_figures_in_sight() -> None:
    columns = ("figures", "level", "data set", "size", "variant", "against", "points", "saved %", "kind", "pairs")
    row = ("ours", "input", "cifar10", 1000, "", "full", Estimate(1.5, low=1, high=2, signed=True), 75.0, "modelled", 3)
    shown = show_table(Table("any", "Any", columns, (row,)))
    assert (shown.rows[0].name, shown.of) == ("input, cifar10, 1000 images", "level, data set, size")
    assert [(column.heading, column.kind) for column in shown.columns] == [
        ("against", "text"),
        ("points", "key"),
        ("saved %", "key"),
        ("kind", "rest"),
        ("pairs", "rest"),
    ]
    assert [(cell.value, cell.spread) for cell in shown.rows[0].cells][1] == ("+1.5", "[1.0,\xa02.0]")
    assert shown.folds and not shown.wide


def test_of_many_strategies_ours_and_its_opponents_are_in_sight() -> None:
    strategies = ("base", "none", "bn", "TBFT", "auto", "block1", "block2", "fc", "tuned-full", "full", "Block Avg")
    table = Table("accuracy", "Accuracy", ("level", *strategies), (("input", *map(float, range(11))),))
    seen = [column.heading for column in show_table(table).columns if column.kind == "key"]
    assert seen == ["base", "TBFT", "auto", "tuned-full", "full", "Block Avg"]


def test_every_value_of_every_table_is_on_the_page(ledger: Path, page: str) -> None:
    texts = {text.replace("\xa0", " ") for _, text in Elements(page).texts}
    for table in all_tables(Results(read_ledger(ledger)[0])):
        for row in show_table(table).rows:
            for cell in row.cells:
                assert not cell.value or cell.value in texts or cell.value.startswith("block"), (table.name, cell)
                assert cell.spread.replace("\xa0", " ") in texts | {""}, (table.name, cell)


def test_a_page_without_opponents_and_one_without_a_completed_run_say_so(tmp_path: Path) -> None:
    write_record(tmp_path, "died", {"schema": 1, "status": "failed", "error": "no space left"})
    page = (write_report(tmp_path).folder / "report.html").read_text()
    assert "There is no completed run" in page and "no space left" in page and "<svg" not in page
    write_record(tmp_path, "run", record("input", "block", 0))
    page = (write_report(tmp_path).folder / "report.html").read_text()
    assert "with no full fine-tuning beside it to compare with" in page.replace("\xa0", " ")


def test_an_opponent_in_another_number_format_looks_related() -> None:
    plain, same = look_of("tuned-full"), look_of(f"tuned-full{AMP}")
    assert plain.colour == same.colour == LOOKS["tuned-full"].colour
    assert plain.filled and not same.filled and plain.hatch != same.hatch
