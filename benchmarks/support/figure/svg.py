"""The shapes of a figure as SVG, in the colours of a scheme."""

from typing import NamedTuple
from xml.sax.saxutils import escape

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"


class Colours(NamedTuple):
    """A scheme: the sheet and what stands on it, then the outcomes by their letters."""

    sheet: str
    band: str
    text: str
    muted: str
    line: str
    ours: str
    outcomes: dict[str, str]


LIGHT = Colours(
    sheet="#ffffff",
    band="#f5f4ef",
    text="#1d2430",
    muted="#586174",
    line="#d9d7cf",
    ours="#0b6b63",
    outcomes={"d": "#3aa597", "p": "#f0b840", "a": "#6c9be0", "e": "#9aa0ac", "n": "#c93f34"},
)
DARK = Colours(
    sheet="#161b22",
    band="#1d242d",
    text="#e6e9ee",
    muted="#9aa4b2",
    line="#3a424d",
    ours="#4fc3b5",
    outcomes={"d": "#2e9485", "p": "#d9a02f", "a": "#5b8bd6", "e": "#727a87", "n": "#e0584c"},
)
SCHEMES = {"light": LIGHT, "dark": DARK}


class Drawing:
    """Shapes that are drawn one after another."""

    def __init__(self, colours: Colours, width: int, height: int, title: str, description: str) -> None:
        self.colours = colours
        self._parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
            f' role="img" aria-labelledby="title description" font-family="{FONT}" font-size="13">',
            f'<title id="title">{escape(title)}</title>',
            f'<desc id="description">{escape(description)}</desc>',
        ]
        self.box(0, 0, width, height, colours.sheet, radius=14)

    def box(self, x: float, y: float, width: float, height: float, fill: str, radius: float = 0) -> None:
        """A filled rectangle."""
        rounded = f' rx="{radius:g}"' if radius else ""
        self._parts.append(
            f'<rect x="{x:.4g}" y="{y:.4g}" width="{width:.4g}" height="{height:.4g}"{rounded} fill="{fill}"/>'
        )

    def line(self, x1: float, y1: float, x2: float, y2: float, stroke: str, width: float = 1, dashes: str = "") -> None:
        """A straight line."""
        dashed = f' stroke-dasharray="{dashes}"' if dashes else ""
        path = f"M{x1:.4g} {y1:.4g}L{x2:.4g} {y2:.4g}"
        self._parts.append(f'<path d="{path}" stroke="{stroke}" stroke-width="{width:g}"{dashed}/>')

    def dot(self, x: float, y: float, radius: float, fill: str) -> None:
        """A filled circle."""
        self._parts.append(f'<circle cx="{x:.4g}" cy="{y:.4g}" r="{radius:g}" fill="{fill}"/>')

    def text(
        self, x: float, y: float, text: str, fill: str = "", size: float = 13, anchor: str = "start", weight: int = 400
    ) -> None:
        """One line; `y` is that of its base."""
        bold = f' font-weight="{weight}"' if weight != 400 else ""
        aligned = f' text-anchor="{anchor}"' if anchor != "start" else ""
        place = f'x="{x:.4g}" y="{y:.4g}" font-size="{size:g}"{aligned}{bold} fill="{fill or self.colours.text}"'
        self._parts.append(f"<text {place}>{escape(text)}</text>")

    def svg(self) -> str:
        """All of it."""
        return "\n".join([*self._parts, "</svg>"]) + "\n"
