"""Writes the page (benchmarks room, report): templates filled with what records and their comparison say.

A pure function of the records: no time of writing, no machine of the reader's, nothing from a network.
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fl_bench.files import write_file

from ..leaderboard.lines import lines
from ..leaderboard.own_rate import OWN_RATE, OWN_STEPS, cautioned
from ..leaderboard.pairing import cautions
from ..leaderboard.poisoned import over_poisoned
from ..leaderboard.reported import SELECTIONS
from ..leaderboard.sampling import decided_by_new
from ..leaderboard.versions import newest
from ..statistics.verdicts import many
from ..tables.comparison import heading, sections
from ..tables.values import show
from .board import COLUMNS, entries
from .runs import drill_down, provenance

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..figures.gallery import Drawing
    from ..leaderboard.reported import Selection
    from ..records.record import Record
    from ..statistics.result import Comparison
    from .board import Entry

TEMPLATES = Path(__file__).parent / "templates"
"""report.html, and the style and script that go into it."""

BADGES = {
    "oracle: test labels": (
        "The number was chosen by looking at test labels. It says what is in reach, and is never the method's."
    ),
    "oracle: public labels": (
        "The method was given the true labels of the public pool, which are sealed for all others."
    ),
    "oracle: true groups": ("The method was told which latent group each client comes from; others have to find out."),
    OWN_RATE: (
        "Clients train with an optimizer or rate of the method's own, and not with that of `training`. Compare it with "
        "others where rates were tuned or set equal."
    ),
    OWN_STEPS: (
        "Clients train for more or fewer steps than `training` says, because the grid gives the method local epochs or "
        "batches of its own. What the others do stands in brackets."
    ),
}
"""What badges mean, by their beginning."""

FEW = 6
"""Verdicts that stand open; more are folded."""


@dataclass(frozen=True)
class Picture:
    """A figure on the page."""

    kind: str
    title: str
    width: int
    """Pixels that it wants to have."""
    source: str
    """A data address that holds all of it."""


def write_page(folder: Path, text: str) -> Path:
    """Write the page as index.html.

    Raises:
        StorageError: the folder cannot be written to.
    """
    path = folder / "index.html"
    write_file(path, text)
    return path


def render_page(
    records: Sequence[Record],
    *,
    selection: Selection,
    comparison: Comparison | None,
    obstacle: str,
    pictures: Sequence[Picture],
) -> str:
    """The whole page.

    Args:
        records: at least one, whatever their status.
        selection: which round is reported.
        comparison: what may be claimed; None where nothing can be compared.
        obstacle: why there is no comparison, for the reader.
        pictures: the figures, in order.
    Raises:
        DataError: a record cannot be read.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":"), "allow_nan": False}
    environment.filters["shown"] = show
    board = entries(records, selection)
    scored = lines(records, selection)
    of_clients = [
        f"{dataset}: {said}"
        for told in (decided_by_new(scored), over_poisoned(scored))
        for (dataset, _), said in told.items()
    ]
    data = drill_down(records)
    kept = newest(records)
    return environment.get_template("report.html").render(
        style=(TEMPLATES / "report.css").read_text(encoding="utf-8"),
        script=(TEMPLATES / "report.js").read_text(encoding="utf-8"),
        lead=_lead(kept, board),
        cautions=[*cautions(records), *cautioned(scored), *dict.fromkeys(of_clients)],
        selection=SELECTIONS[selection],
        board=board,
        columns=COLUMNS,
        choices=_choices(board),
        settings=data["settings"],
        comparison=comparison,
        heading=[] if comparison is None else heading(comparison),
        sections=[] if comparison is None else sections(comparison),
        few=FEW,
        obstacle=obstacle,
        pictures=pictures,
        unfinished=[run for run in data["runs"] if run["status"] != "done"],
        origins=provenance(data),
        badges=_badges(board),
        data=data,
    )


def take_pictures(drawings: Sequence[Drawing]) -> list[Picture]:
    """Draw figures for the page.

    Raises:
        ConfigError: matplotlib is not installed.
    """
    from ..figures.style import render

    pictures = []
    for drawing in drawings:
        figure = drawing.draw()
        content = slim(render(figure, "svg").decode())
        source = "data:image/svg+xml;base64," + base64.b64encode(content.encode()).decode()
        pictures.append(Picture(drawing.kind, drawing.title, round(96 * figure.get_figwidth()), source))
    return pictures


def slim(svg: str) -> str:
    """The same picture in fewer bytes: no comments, no line ends within it, places to a hundredth of a point."""
    svg = re.sub(r"<!--.*?-->|<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"\s*\n\s*", " ", svg).replace("> <", "><")
    return re.sub(r'(?<= d=")[^"]*', lambda path: re.sub(r"(\.\d\d)\d+", r"\1", path[0]).strip(), svg)


def _lead(records: Sequence[Record], board: Sequence[Entry]) -> str:
    done = sum(record.status == "done" for record in records)
    rest = "" if done == len(records) else f", {len(records) - done} of them not done"
    repeated = "repetition" if any(record.repetition.varied for record in records) else "seed"
    return (
        f"{many(len(records), 'run')}{rest}: {many(len({entry.method for entry in board}), 'method')} on "
        f"{many(len({entry.dataset for entry in board}), 'data set')} in "
        f"{many(len({entry.setting for entry in board}), 'setting')}, "
        f"{many(len({record.repetition for record in records}), repeated)}."
    )


def _choices(board: Sequence[Entry]) -> dict[str, list[str]]:
    """What the filters offer."""
    names = ("dataset", "setting", "category", "view")
    return {name: sorted({str(getattr(entry, name)) for entry in board} - {""}) for name in names}


def _badges(board: Sequence[Entry]) -> list[dict[str, Any]]:
    """Every badge that occurs, with its meaning and who carries it."""
    carriers: dict[str, set[str]] = {}
    for entry in board:
        for badge in entry.badges:
            carriers.setdefault(badge, set()).add(entry.method if entry.deployed else f"{entry.method} · {entry.view}")
    return [
        {
            "badge": badge,
            "meaning": next((words for name, words in BADGES.items() if badge.startswith(name)), "")
            or "The run was told something that its method should not know.",
            "carriers": sorted(who),
        }
        for badge, who in sorted(carriers.items())
    ]
