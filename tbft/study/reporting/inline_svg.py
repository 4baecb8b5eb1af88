"""Matplotlib's SVG as a part of a page: it takes the page's font, width and colours, and shares its names with none."""

import re
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
    svg = re.sub(r"font: ([\d.]+px) [^;\"]*", r"font-size: \1", svg)
    svg = re.sub(r" font-family: [^;\"]*;", "", svg)
    referred = set(re.findall(r'(?:url\(|href=")#([^)"]+)', svg))
    svg = re.sub(r' id="([^"]*)"', lambda found: f' id="{name}-{found[1]}"' if found[1] in referred else "", svg)
    svg = re.sub(r'(url\(|href=")#', rf"\1#{name}-", svg)
    svg = re.sub(r"#[0-9a-f]{6}\b", lambda found: _variable(found[0]), svg)
    svg = re.sub(r"(\d\.\d\d)\d+", r"\1", svg)  # hundredths of a point
    said = " ".join(label.split())
    role = f'role="img" aria-label="{escape(said)}"' if said else 'aria-hidden="true"'
    return re.sub(r"\n\s*", "\n", svg.replace("<svg", f"<svg {role}", 1)).strip()


def dark_colours() -> str:
    """What a dark page declares, so that the colours of its figures can be seen."""
    return " ".join(f"--c{colour.lower()[1:]}: {instead};" for colour, instead in DARK.items())


def _variable(colour: str) -> str:
    known = any(colour == other.lower() for other in DARK)
    return f"var(--c{colour[1:]}, {colour})" if known else colour
