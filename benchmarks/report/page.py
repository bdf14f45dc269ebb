"""Writes the page (benchmarks room, report): templates filled with what records and their comparison say.

A pure function of the records: no time of writing, no machine of the reader's, nothing from a network.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fl_bench.files import write_file

from ..figures.blocks import read_blocks
from ..leaderboard.lines import lines
from ..leaderboard.own_rate import OWN_RATE, OWN_STEPS, cautioned
from ..leaderboard.pairing import cautions
from ..leaderboard.poisoned import over_poisoned
from ..leaderboard.reported import SELECTIONS
from ..leaderboard.sampling import decided_by_new
from ..leaderboard.versions import newest
from ..statistics.costs import costs as costs_of
from ..statistics.costs import spent_in
from ..statistics.population import population
from ..statistics.study import Study
from ..statistics.verdicts import many, repeats
from ..tables.comparison import heading, sections
from ..tables.finer import cost_table
from ..tables.latex import SPECIAL
from ..tables.values import show
from .board import COLUMNS, entries
from .by_dataset import badges_of, by_dataset
from .clients import of_clients
from .finding import ranking, views
from .runs import drill_down, provenance

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jinja2 import Environment

    from ..leaderboard.lines import Line
    from ..leaderboard.reported import Selection
    from ..records.record import Record
    from ..statistics.result import Comparison
    from ..tuning.ledger import Ledger
    from .board import Entry
    from .pictures import Picture

TEMPLATES = Path(__file__).parent / "templates"
"""report.html with its parts, and the styles and scripts that go into it."""

SCRIPTS = ("shared.js", "tables.js", "finding.js", "by-dataset.js", "charts.js", "clients.js", "runs.js")
"""In the order in which they run."""

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


def write_page(folder: Path, text: str) -> Path:
    """Write the page as index.html.

    Raises:
        StorageError: the folder cannot be written to.
    """
    path = folder / "index.html"
    write_file(path, text)
    return path


@dataclass(frozen=True)
class About:
    """What the records are of."""

    title: str = "fl-bench report"
    """The grid's name, or that of the results folder."""
    question: str = ""
    """What the grid was run to answer, or what it is for; nothing where nobody said."""


def render_page(
    records: Sequence[Record],
    *,
    selection: Selection,
    comparison: Comparison | None,
    obstacle: str,
    pictures: Sequence[Picture],
    ledger: Ledger | None = None,
    about: About | None = None,
) -> str:
    """The whole page.

    Args:
        records: at least one, whatever their status.
        selection: which round is reported.
        comparison: what may be claimed; None where nothing can be compared.
        obstacle: why there is no comparison, for the reader.
        pictures: the figures, in order.
        ledger: of the results folder that the records are from.
        about: what stands above.
    Raises:
        DataError: a record cannot be read.
    """
    scored = lines(records, selection, ledger)
    board = entries(records, scored)
    data = drill_down(records)
    bounds = {entry.method for entry in board if entry.category == "bound"}
    table = by_dataset(scored, bounds, comparison)
    content = _comparison(comparison, scored) if comparison is not None else {}
    template = _environment().get_template("report.html")
    return template.render(
        style=_assets("report.css", "charts.css"),
        script=_assets(*SCRIPTS),
        about=about or About(),
        lead=_lead(newest(records), board),
        cautions=_cautions(records, scored),
        selection=SELECTIONS[selection],
        board=board,
        columns=COLUMNS,
        choices=_choices(board),
        setting_names=_setting_names(board),
        settings=data["settings"],
        table=table,
        badges_of=badges_of(board),
        comparison=comparison,
        content=content,
        few=FEW,
        obstacle=obstacle,
        pictures=pictures,
        unfinished=[run for run in data["runs"] if run["status"] != "done"],
        origins=provenance(data),
        badges=_badges(board),
        data={
            **data,
            "table": asdict(table),
            "control": None if comparison is None else comparison.control,
            "clients": of_clients(read_blocks(records)),
            "latex": SPECIAL,
        },
    )


def _environment() -> Environment:
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
    return environment


def _assets(*names: str) -> str:
    return "\n".join((TEMPLATES / name).read_text(encoding="utf-8") for name in names)


def _comparison(result: Comparison, scored: Sequence[Line]) -> dict[str, Any]:
    """What is said of a comparison: the finding from every control, the ranking, costs, and all tables."""
    spent = spent_in(scored)
    ranked, apart = ranking(result, spent)
    costs: list[dict[str, Any]] = []
    caption = ""
    if result.control is not None:
        study = Study(result.table, result.options, result.control)
        costs, caption = cost_table(costs_of(study, result.primary, spent), result.options.alpha, result.table.tuning)
    return {
        "views": views(result),
        "ranked": ranked,
        "apart": apart,
        "population": f"{population(result.table, result.options.blocks)}, {repeats(result)}",
        "costs": costs,
        "costs_caption": caption,
        "heading": heading(result),
        "sections": sections(result),
    }


def _cautions(records: Sequence[Record], scored: Sequence[Line]) -> list[str]:
    of_clients = [
        f"{dataset}: {said}"
        for told in (decided_by_new(scored), over_poisoned(scored))
        for (dataset, _), said in told.items()
    ]
    return [*cautions(records), *cautioned(scored), *dict.fromkeys(of_clients)]


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


def _setting_names(board: Sequence[Entry]) -> dict[str, str]:
    """What the page calls each setting, by its hash: what tells it from others, or the hash where there are none."""
    return {entry.setting: entry.setting for entry in board} | {
        entry.setting: entry.setting_name for entry in board if entry.setting_name
    }


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
