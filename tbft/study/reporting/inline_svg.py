"""Matplotlib's SVG as a part of a page: it takes the page's font, width and colours, and shares its names with none."""

import re
from collections.abc import Collection
from html import escape

from tbft.study.reporting.chart_style import DARK


def inline(svg: str, name: str, label: str = "") -> str:
    """Make a figure a part of a page.

    Args:
        svg: What Matplotlib wrote, its letters as text.
        name: Unique on the page; what the figure refers to inside itself is named after it.
        label: What a screen reader says; a figure without one is decoration.

    Returns:
        An `svg` element as wide as what holds it. A colour in `DARK` becomes a variable that a dark page sets.
    """
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<!--.*?-->|<metadata>.*?</metadata>|<style.*?</style>", "", svg, flags=re.DOTALL)
    svg = re.sub(r' (?:width|height)="[\d.]+pt"', "", svg, count=2)
    referred = set(re.findall(r'(?:url\(|href=")#([^)"]+)', svg))
    svg = re.sub(r"<[^>]*>", lambda tag: _adapt(tag[0], name, referred), svg)  # texts stay as they are
    said = " ".join(label.split())
    role = f'role="img" aria-label="{escape(said)}"' if said else 'aria-hidden="true"'
    return svg.replace("<svg", f"<svg {role}", 1).strip()


def _adapt(tag: str, name: str, referred: Collection[str]) -> str:
    """Give a tag the page's font, the figure's own names, colours that can change, and hundredths of a point."""
    tag = re.sub(r"font: ([\d.]+px) [^;\"]*", r"font-size: \1", tag)
    tag = re.sub(r" font-family: [^;\"]*;", "", tag)
    tag = re.sub(r' id="([^"]*)"', lambda found: f' id="{name}-{found[1]}"' if found[1] in referred else "", tag)
    tag = re.sub(r'(url\(|href=")#(?=\w)', rf"\1#{name}-", tag)
    tag = re.sub(r"(\d\.\d\d)\d+", r"\1", tag)
    return re.sub(r"#[0-9a-f]{6}\b", lambda found: _variable(found[0]), tag)


def dark_colours() -> str:
    """What a dark page declares, so that the colours of its figures can be seen."""
    return " ".join(f"--c{colour.lower()[1:]}: {instead};" for colour, instead in DARK.items())


def _variable(colour: str) -> str:
    known = any(colour == other.lower() for other in DARK)
    return f"var(--c{colour[1:]}, {colour})" if known else colour
