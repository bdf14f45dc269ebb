"""Figures on the page (benchmarks room, report): drawn once, then kept in the user's cache by what they are drawn from.

The name of a kept figure is the hash of its data, of the files that draw and of matplotlib's version, so that nothing
stale is ever shown. Without a cache that can be written to, every page draws its own.
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from fl_bench.errors import StorageError
from fl_bench.files import write_file

from ...datasets.source import cache_folder
from ..figures import style

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..figures.gallery import Drawing

ON_PAGE = ("ranks", "matrix", "profiles", "tradeoff", "leakage", "sweep")
"""Kinds of figures that the page shows as pictures; it draws the others itself, of the same numbers."""

KEPT = 200
"""Figures in the cache; of more, those that were written first are removed."""

LARGEST = 4_000_000
"""Bytes of a kept figure that are read."""


@dataclass(frozen=True)
class Picture:
    """A figure on the page."""

    kind: str
    title: str
    width: int
    """Pixels that it wants to have."""
    source: str
    """A data address that holds all of it."""


def take_pictures(drawings: Sequence[Drawing], folder: Path | None = None) -> list[Picture]:
    """Draw figures for the page, or take them from where they were kept.

    Args:
        drawings: what is wanted.
        folder: where figures are kept; that of the user when None.
    Raises:
        ConfigError: matplotlib is not installed.
    """
    folder = folder or cache_folder() / "figures"
    return [_picture(drawing, folder) for drawing in drawings]


def slim(svg: str) -> str:
    """The same picture in fewer bytes: no comments, no line ends within it, places to a hundredth of a point."""
    svg = re.sub(r"<!--.*?-->|<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"\s*\n\s*", " ", svg).replace("> <", "><").strip()
    return re.sub(r'(?<= d=")[^"]*', lambda path: re.sub(r"(\.\d\d)\d+", r"\1", path[0]).strip(), svg)


def _picture(drawing: Drawing, folder: Path) -> Picture:
    path = folder / f"{_hash(drawing)}.svg"
    svg = _kept(path)
    if svg is None:
        svg = slim(style.render(drawing.draw(), "svg").decode())
        _keep(path, svg)
    source = "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode()
    return Picture(drawing.kind, drawing.title, _width(svg), source)


def _hash(drawing: Drawing) -> str:
    parts = (_drawn_by(), drawing.kind, drawing.title, repr(drawing.data))
    return sha256("\0".join(parts).encode()).hexdigest()[:32]


@cache
def _drawn_by() -> str:
    """The hash of all that turns data into a figure."""
    import matplotlib

    found = sha256(matplotlib.__version__.encode())
    for path in sorted(Path(style.__file__).parent.glob("*.py")):
        found.update(path.read_bytes())
    return found.hexdigest()


def _width(svg: str) -> int:
    """Pixels: matplotlib gives points."""
    found = re.search(r'<svg[^>]*\swidth="([\d.]+)pt"', svg)
    return round(float(found[1]) * 96 / 72) if found else 900


def _kept(path: Path) -> str | None:
    """A figure from the cache; None where there is none that can be read."""
    try:
        if path.stat().st_size > LARGEST:
            return None
        svg = path.read_bytes().decode()
    except (OSError, UnicodeDecodeError):
        return None
    return svg if svg.startswith("<?xml") and svg.endswith("</svg>") else None


def _keep(path: Path, svg: str) -> None:
    try:
        write_file(path, svg)
        kept = sorted(path.parent.glob("*.svg"), key=lambda one: one.stat().st_mtime)
        for old in kept[:-KEPT]:
            old.unlink()
    except (OSError, StorageError):  # a cache is a convenience
        return
