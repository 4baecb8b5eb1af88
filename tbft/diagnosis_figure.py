"""Draw a diagnosis as one figure: what drifted, what each remedy would bring and cost, and what to do."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tbft.diagnosis.diagnosis_data import DiagnosisData
from tbft.diagnosis.offers import Offer, distinct
from tbft.diagnosis.table import equation_of_p, format_passes, format_percent, list_training, name_levels
from tbft.errors import BadInput
from tbft.paths import user_path
from tbft.remedies.evidence import Interval
from tbft.remedies.label_free import SIGN_LEVEL
from tbft.study.reporting.chart_style import LOOKS, save_png, save_svg, style

SAVED_AS = {".png": save_png, ".svg": save_svg}
"""Functions that write a figure, by the suffix of the file."""

MOST_REMEDIES = 7
"""Number of remedies shown: all accepted ones, the base model among them, and then the most accurate others."""

# One column, so that a telephone shows it whole: letters of 9.5 points on 5 inches are 10 pixels high at 400 pixels.
_WIDTH, _MARGIN = 5.0, 0.12  # inches, like the next line
_TITLE, _LINE, _ROW, _TICKS, _GAP = 0.24, 0.165, 0.41, 0.24, 0.1
_BELOW = 0.39  # distance from a row's text to its interval, as a fraction of the row's height
_SIZE, _FIRST_SIZE, _LETTERS, _FIRST_LETTERS = 9.5, 12.0, 66, 46
_SHOWN_WIDTH = 520  # pixels in a notebook

_FOUND, _OTHER = LOOKS["block"].colour, "#555555"
_SOURCE = LOOKS["block2"].colour

_EFFECTS = {
    "input": "gained by refreshed statistics",
    "output": "gained by a label map",
    "feature": "still lost after these",
    "prior": "moved in one class's share",
    "labels": "below what confidence claims",
}
"""What the effect of each level measures, in words short enough for a row."""


class DiagnosisFigure(Figure):
    """A figure that a notebook can show without pyplot."""

    def _repr_png_(self) -> tuple[bytes, dict[str, Any]]:
        image = BytesIO()
        with style():
            self.savefig(image, format="png", dpi=150, metadata={"Software": None})
        return image.getvalue(), {"width": _SHOWN_WIDTH}


@dataclass(frozen=True)
class Row:
    """One interval, drawn in percent or points, with text above it.

    Attributes:
        name: text on the left.
        told: text on the right.
        interval: interval to draw, as fractions of 1.
        marked: whether the row is highlighted.
    """

    name: str
    told: str
    interval: Interval
    marked: bool


@dataclass(frozen=True)
class Block:
    """One part of the column: a title, then text or rows of intervals.

    Attributes:
        title: title above the part, on one or several lines.
        lines: lines of text.
        rows: rows of intervals, which share one axis.
        caption: text below that axis.
        mark: function that sets the axis's limits and draws the background of the rows.
        size: font size of the title, in points.
    """

    title: str
    lines: Sequence[str] = ()
    rows: Sequence[Row] = ()
    caption: str = ""
    mark: Callable[[Axes], None] = lambda axis: None
    size: float = _SIZE + 1

    @property
    def height(self) -> float:
        """Height in inches, with the space before the next part."""
        words = len(self.title.splitlines()) * _TITLE + len(self.lines) * _LINE + _GAP
        return words + (len(self.rows) * _ROW + _TICKS + len(self.caption.splitlines()) * _LINE if self.rows else 0)


def draw_diagnosis(diagnosis: DiagnosisData) -> DiagnosisFigure:
    """Draw a diagnosis in one column: the verdict, the evidence, the remedies, and what to do."""
    blocks = [_verdict(diagnosis)]
    evidence, remedies = _evidence(diagnosis), _remedies(diagnosis)
    if evidence:
        asked = "At which level?" if diagnosis.labelled else "Has anything drifted?"
        caption = "points, 95 % interval; filled: found"
        blocks.append(Block(asked, rows=evidence, caption=caption, mark=partial(_mark_evidence, evidence)))
    if remedies:
        caption = "accuracy (%), 95 % interval; dashed: now"
        caption += ", dash-dotted: source" if diagnosis.source_accuracy is not None else ""
        if diagnosis.offers[0].passes is not None:
            caption += "\npasses: estimated cost, in forward passes over these images"
        if diagnosis.training:
            caption += f"\nnot tried, in passes: {list_training(diagnosis)}"
        title, mark = "What each remedy would bring, from the cheapest", partial(_mark_accuracies, diagnosis)
        blocks.append(Block(title, rows=remedies, caption=caption, mark=mark))
    blocks.append(Block("What to do", [line for text in diagnosis.advice for line in _wrapped(text, "- ")]))
    height = sum(block.height for block in blocks)
    with style():
        figure = DiagnosisFigure(figsize=(_WIDTH, height))
        for block in blocks:
            _draw_block(figure, block, height)
            height -= block.height
    return figure


def save_figure(figure: Figure, path: str | Path) -> None:
    """Write a figure to a file.

    Raises:
        BadInput: if the suffix is none of ``SAVED_AS``, or the file cannot be written.
    """
    file = check_picture(path)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        SAVED_AS[file.suffix.lower()](figure, file)
    except OSError as error:
        raise BadInput(f"{file} cannot be written ({error.strerror}): give another file for the picture") from None


def check_picture(path: str | Path) -> Path:
    """Return the path of a figure's file, with ``~`` expanded.

    Raises:
        BadInput: if the suffix is none of ``SAVED_AS``.
    """
    file = user_path(str(path))
    if file.suffix.lower() not in SAVED_AS:
        raise BadInput(f"{file} is the name of no picture: give one that ends in {' or '.join(SAVED_AS)}")
    return file


def _verdict(diagnosis: DiagnosisData) -> Block:
    title = textwrap.fill(_title(diagnosis), _FIRST_LETTERS)
    kind, lines = "labelled" if diagnosis.labelled else "unlabelled", []
    if diagnosis.accuracy:
        now = f"accuracy {format_percent(diagnosis.accuracy)} on {diagnosis.images} {kind} images"
        lines += _wrapped(now if diagnosis.labelled else f"estimated {now}")
    else:
        lines += _wrapped(f"{diagnosis.images} {kind} images")
    if diagnosis.source_accuracy is not None:
        lines.append(f"(on the source {100 * diagnosis.source_accuracy:.1f} %)")
    lines += _wrapped(f"{diagnosis.verdict}: {diagnosis.reason.removeprefix('cannot tell: ')}")
    return Block(title, lines, size=_FIRST_SIZE)


def _title(diagnosis: DiagnosisData) -> str:
    if diagnosis.levels:
        levels = ", ".join(level for level in diagnosis.levels if level != "prior")
        shares = "class shares" if "prior" in diagnosis.levels else ""
        return "Drift: " + "; ".join(filter(None, [levels and f"{levels} level", shares]))
    if diagnosis.verdict == "cannot tell":
        return "Cannot tell what drifted"
    return f"Drift: {name_levels(diagnosis)}"


def _evidence(diagnosis: DiagnosisData) -> list[Row]:
    if diagnosis.labelled:
        return [
            Row(f"{f.level}: {_EFFECTS[f.level]}", _told_effect(f.effect, f.p), f.effect, f.found)
            for f in diagnosis.findings
        ]
    return [
        Row(sign.says, _told_effect(sign.effect, sign.p), sign.effect, sign.p <= SIGN_LEVEL) for sign in diagnosis.signs
    ]


def _remedies(diagnosis: DiagnosisData) -> list[Row]:
    accepted = {step.remedies for step in diagnosis.choice.steps if step.accepted}
    offers = distinct(diagnosis.offers)
    kept = [offer for offer in offers if offer.chosen or offer.remedies in accepted]
    others = sorted((offer for offer in offers if offer not in kept), key=lambda offer: -offer.accuracy.value)
    shown = kept + others[: max(0, MOST_REMEDIES - len(kept))]
    return [
        Row(offer.name, _told_offer(offer), offer.accuracy, offer.chosen)
        for offer in sorted(shown, key=lambda offer: (offer.cost, len(offer.remedies)))
    ]


def _told_offer(offer: Offer) -> str:
    gain = "" if offer.gain is None else _points(offer.gain)
    if offer.passes is None or offer.remedies == ("keep",):
        return gain
    return f"{gain}, {format_passes(offer.passes)} passes".removeprefix(", ")


def _draw_block(figure: Figure, block: Block, top: float) -> None:
    """Draw a block whose top is at ``top`` inches from the bottom of the figure."""
    whole = figure.get_figheight()
    left = _MARGIN / 2 / _WIDTH
    figure.text(left, (top - _GAP / 2) / whole, block.title, va="top", fontsize=block.size, fontweight="bold")
    top -= len(block.title.splitlines()) * _TITLE
    if block.lines:
        figure.text(left, (top - _GAP / 2) / whole, "\n".join(block.lines), va="top", fontsize=_SIZE)
    if not block.rows:
        return
    height = len(block.rows) * _ROW
    place = (_MARGIN / _WIDTH, (top - height) / whole, 1 - 2 * _MARGIN / _WIDTH, height / whole)
    axis = figure.add_axes(place)
    _draw_rows(axis, block.rows)
    axis.set_xlabel(block.caption, fontsize=_SIZE)
    block.mark(axis)


def _mark_evidence(rows: Sequence[Row], axis: Axes) -> None:
    axis.axvline(0, color="black", linewidth=0.8, zorder=1)
    low = min(row.interval.low for row in rows)
    axis.set_xlim(min(-25.0, 100 * low - 2), 102)


def _mark_accuracies(diagnosis: DiagnosisData, axis: Axes) -> None:
    now, source = diagnosis.accuracy, diagnosis.source_accuracy
    if now:
        axis.axvspan(100 * now.low, 100 * now.high, color="#eeeeee", linewidth=0, zorder=0)
        axis.axvline(100 * now.value, color=_OTHER, linestyle="--", linewidth=1, zorder=1)
    if source is not None:
        axis.axvline(100 * source, color=_SOURCE, linestyle="-.", linewidth=1.2, zorder=1)
    axis.set_xlim(-2, 102)


def _draw_rows(axis: Axes, rows: Sequence[Row]) -> None:
    """Draw rows from the top down: text on one line, the interval below it."""
    for place, row in enumerate(rows):
        weight = "bold" if row.marked else "normal"
        for x, text, side in ((0.0, row.name, "left"), (1.0, row.told, "right")):
            axis.text(
                x,
                place - 0.02,
                text,
                transform=axis.get_yaxis_transform(),
                ha=side,
                va="center",
                fontsize=_SIZE,
                fontweight=weight,
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.8},
                zorder=2,
            )
        colour, height = _FOUND if row.marked else _OTHER, place + _BELOW
        value, low, high = (100 * end for end in (row.interval.value, row.interval.low, row.interval.high))
        axis.plot([low, high], [height, height], color=colour, linewidth=2, solid_capstyle="butt", zorder=3)
        axis.plot(
            value,
            height,
            marker=LOOKS["block"].marker,
            markersize=6,
            color=colour,
            markerfacecolor=colour if row.marked else "white",
            zorder=4,
        )
    axis.set_ylim(len(rows) - 0.4, -0.4)
    axis.set_yticks([])
    axis.spines["left"].set_visible(False)
    axis.grid(visible=False, axis="y")
    axis.tick_params(labelsize=_SIZE)


def _wrapped(text: str, bullet: str = "") -> list[str]:
    return textwrap.wrap(text, _LETTERS, initial_indent=bullet, subsequent_indent=" " * len(bullet))


def _told_effect(effect: Interval, p: float) -> str:
    return f"{_points(effect)}, {equation_of_p(p)}"


def _points(effect: Interval) -> str:
    return f"{100 * effect.value:+.0f} [{100 * effect.low:.0f}, {100 * effect.high:.0f}]"
