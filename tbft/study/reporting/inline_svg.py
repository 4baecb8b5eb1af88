"""Makes Matplotlib's SVG a part of a page, with the page's font, width and colours, and with names of its own."""

import re
from collections.abc import Collection
from html import escape

from tbft.study.reporting.chart_style import DARK


def inline(svg: str, name: str, label: str = "") -> str:
    """Make a figure a part of a page.

    Args:
        svg: SVG that Matplotlib wrote, with letters as text.
        name: Name of the figure, unique on the page; it becomes a prefix of the figure's internal names.
        label: Text for screen readers; they skip a figure without one.

    Returns:
        An `svg` element as wide as its container. Each colour in `DARK` is a variable that a dark page sets.
    """
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<!--.*?-->|<metadata>.*?</metadata>|<style.*?</style>", "", svg, flags=re.DOTALL)
    svg = re.sub(r' (?:width|height)="[\d.]+pt"', "", svg, count=2)
    referred = set(re.findall(r'(?:url\(|href=")#([^)"]+)', svg))
    svg = re.sub(r"<[^>]*>", lambda tag: _adapt(tag[0], name, referred), svg)  # tags only, no texts
    said = " ".join(label.split())
    role = f'role="img" aria-label="{escape(said)}"' if said else 'aria-hidden="true"'
    return svg.replace("<svg", f"<svg {role}", 1).strip()


def _adapt(tag: str, name: str, referred: Collection[str]) -> str:
    """Change a tag: the page's font, the figure's own names, colours as variables, and numbers with two decimals."""
    tag = re.sub(r"font: ([\d.]+px) [^;\"]*", r"font-size: \1", tag)
    tag = re.sub(r" font-family: [^;\"]*;", "", tag)
    tag = re.sub(r' id="([^"]*)"', lambda found: f' id="{name}-{found[1]}"' if found[1] in referred else "", tag)
    tag = re.sub(r'(url\(|href=")#(?=\w)', rf"\1#{name}-", tag)
    tag = re.sub(r"(\d\.\d\d)\d+", r"\1", tag)
    return re.sub(r"#[0-9a-f]{6}\b", lambda found: _variable(found[0]), tag)


def dark_colours() -> str:
    """Return the CSS variables by which a dark page replaces the colours of its figures."""
    return " ".join(f"--c{colour.lower()[1:]}: {instead};" for colour, instead in DARK.items())


def _variable(colour: str) -> str:
    known = any(colour == other.lower() for other in DARK)
    return f"var(--c{colour[1:]}, {colour})" if known else colour
