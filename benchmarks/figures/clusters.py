"""Who is in which cluster, round by round, against the true groups (benchmarks room, figures)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import count, pairwise
from typing import TYPE_CHECKING, Any

from .sheet import SCREEN
from .style import COLOURS, GREY, INK, set_title, styled

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ..grid.repetition import Repetition
    from ..records.record import Record
    from .blocks import Block
    from .sheet import Sheet


PANEL = 1.75
"""Inches of a panel on paper, about."""

MOST_NAMES = 4
"""Groups that have room for their names on screens."""

NUMBER = 0.11
"""Inches that a number of a cluster takes on paper."""


@dataclass(frozen=True)
class Membership:
    """Clusters of one run."""

    label: str
    seed: Repetition
    groups: tuple[int | None, ...]
    """True group of each client; None where the partition has none."""
    clusters: tuple[tuple[int | None, ...], ...]
    """Shape (rounds, clients); None where a client was in none. Numbers are `renumbered`."""
    agreement: tuple[float | None, ...]
    """Adjusted Rand index against the true groups after each round."""
    others: tuple[tuple[float | None, ...], ...] = ()
    """That of the other seeds."""


def read_memberships(block: Block) -> list[Membership]:
    """The median seed of every method of a block that has clusters."""
    found = []
    for course in block.courses:
        runs = [read_membership(course.label, run) for run in block.records[course.label]]
        if known := [run for run in runs if run is not None]:
            found.append(median_seed(known))
    return found


def median_seed(runs: Sequence[Membership]) -> Membership:
    """The run with the median agreement after the last round, with the agreement of the others.

    Of an even number the lower of the middle two; of equal ones, and where no partition has groups, the first.
    """

    def last(run: Membership) -> float:
        known = [value for value in run.agreement if value is not None]
        return known[-1] if known else 0.0

    level = sorted(last(run) for run in runs)[(len(runs) - 1) // 2]
    middle = next(run for run in runs if last(run) == level)
    return replace(middle, others=tuple(run.agreement for run in runs if run is not middle))


def has_clusters(run: Record) -> bool:
    """Whether a run put clients into clusters."""
    return any(row.get("cluster") is not None for row in run.clients)


def read_membership(label: str, run: Record) -> Membership | None:
    """The clusters of a run; None when it has none."""
    if not has_clusters(run):
        return None
    clients = sorted({client for row in run.clients if isinstance(client := row.get("client"), int)})
    places = {client: place for place, client in enumerate(clients)}
    rounds = [number for row in run.rounds if isinstance(number := row.get("round"), int)]
    groups: list[int | None] = [None] * len(clients)
    table: dict[int, list[int | None]] = {number: [None] * len(clients) for number in rounds}
    for row in run.clients:
        number, client, group, cluster = (row.get(name) for name in ("round", "client", "group", "cluster"))
        if isinstance(number, int) and isinstance(client, int) and number in table:
            table[number][places[client]] = cluster if isinstance(cluster, int) and cluster >= 0 else None
            groups[places[client]] = group if isinstance(group, int) else None
    indices = [row.get("cluster_ari") for row in run.rounds]
    return Membership(
        label=label,
        seed=run.repetition,
        groups=tuple(groups),
        clusters=renumbered(list(table.values())),
        agreement=tuple(float(value) if isinstance(value, int | float) else None for value in indices),
    )


def renumbered(clusters: Sequence[Sequence[int | None]]) -> tuple[tuple[int | None, ...], ...]:
    """The same clusters under numbers that stay with their members from round to round.

    A method may number its clusters anew in every round. Each round's clusters take the numbers of the last round's
    that maximise the clients who keep theirs; clusters left over take the smallest numbers that are free.

    Args:
        clusters: any numbers, shape (rounds, clients); None where a client is in none.
    """
    from scipy.optimize import linear_sum_assignment

    result: list[tuple[int | None, ...]] = []
    known: list[int | None] = [None] * max(map(len, clusters), default=0)  # the last number that each client had
    for line in clusters:
        names = sorted({cluster for cluster in line if cluster is not None})
        before = sorted({number for number in known if number is not None})
        shared = [
            [sum(now == name and then == number for now, then in zip(line, known, strict=True)) for number in before]
            for name in names
        ]
        taken: dict[int, int] = {}
        if names and before:
            rows, columns = linear_sum_assignment(shared, maximize=True)
            taken = {
                names[row]: before[column] for row, column in zip(rows, columns, strict=True) if shared[row][column]
            }
        for name in names:
            if name not in taken:
                taken[name] = next(number for number in count() if number not in taken.values())
        numbers = tuple(None if cluster is None else taken[cluster] for cluster in line)
        known = [then if now is None else now for now, then in zip(numbers, known, strict=True)]
        result.append(numbers)
    return tuple(result)


@styled
def draw(memberships: Sequence[Membership], *, title: str, sheet: Sheet = SCREEN) -> Figure:
    """A panel per method: a row per client, sorted by true group, a column per round, and the agreement below.

    Args:
        memberships: what `read_memberships` gives, at least one.
        title: what stands above.
        sheet: its width.
    """
    columns = min(3 if sheet.width is None else max(1, round(sheet.width / PANEL)), len(memberships))
    rows = -(-len(memberships) // columns)
    columns = -(-len(memberships) // rows)  # as even as can be
    clients = max(len(membership.groups) for membership in memberships)
    screen = max(3.1 * columns, 6.2), (min(max(0.085 * clients, 2.2), 8) + 1.3) * rows + 0.6
    figure = sheet.figure(screen, (min(max(0.05 * clients, 1.2), 4) + 0.9) * rows)
    grid = figure.subplots(2 * rows, columns, squeeze=False, height_ratios=[5, 1] * rows)
    for place, membership in enumerate(memberships):
        top, below = grid[2 * (place // columns), place % columns], grid[2 * (place // columns) + 1, place % columns]
        panel = figure.get_figwidth() / columns - 0.5  # inches of the axes, about
        every = -(-len(membership.clusters) * NUMBER // panel) if sheet.width else 1
        _clients(top, membership, every, short=sheet.width is not None)
        _agreement(below, membership)
    for place in range(len(memberships), rows * columns):
        grid[2 * (place // columns), place % columns].set_visible(False)
        grid[2 * (place // columns) + 1, place % columns].set_visible(False)
    most = max(len(membership.others) for membership in memberships) + 1
    alone = f"seed {memberships[0].seed}"
    seeds = f"the seed of the median last index among {most}, by its number" if most > 1 else alone
    set_title(
        figure,
        title,
        f"who is in which cluster, {seeds}: a line per client, sorted by true group; number, "
        "colour and hatching: the cluster; below: adjusted Rand index (ARI) against the true groups"
        + ("; grey: the other seeds" if most > 1 else ""),
        on_paper=sheet.on_paper,
    )
    return figure


def _clients(axes: Axes, membership: Membership, every: float, *, short: bool) -> None:
    """Blocks of neighbours in one cluster become one rectangle, with its number in every so many rounds.

    Where room is short, or groups are many, their names are numbers only.
    """
    from matplotlib.patches import Rectangle

    last = membership.clusters[-1]
    order = sorted(
        range(len(membership.groups)),
        key=lambda client: (_number(membership.groups[client]), _number(last[client]), client),
    )
    for number, line in enumerate(membership.clusters):
        start = 0
        while start < len(order):
            cluster, end = line[order[start]], start
            while end < len(order) and line[order[end]] == cluster:
                end += 1
            if cluster is not None:
                place = (number - 0.47, start)
                # limits are set below, and nothing here reaches beyond them: neither has to be measured
                axes.add_artist(Rectangle(place, 0.94, end - start, linewidth=0, **cluster_look(cluster)))
                if end - start >= 2 and len(membership.clusters) <= 25 * every and number % every == 0:
                    axes.text(
                        number,
                        (start + end) / 2,
                        str(cluster),
                        ha="center",
                        va="center",
                        fontsize=7,
                        in_layout=False,
                        bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.8, "alpha": 0.85},
                    )
            start = end
    edges = [
        place
        for place in range(1, len(order))
        if membership.groups[order[place]] != membership.groups[order[place - 1]]
    ]
    for edge in edges:
        axes.axhline(edge, color="white", linewidth=2.4)
        axes.axhline(edge, color=INK, linewidth=1)
    bounds = [0, *edges, len(order)]
    ticks = [(low + high) / 2 for low, high in pairwise(bounds)]
    names = [f"group {membership.groups[order[low]]}" for low in bounds[:-1]]
    known = membership.groups[order[0]] is not None
    short = known and (short or len(ticks) > MOST_NAMES)
    if short:
        names = [str(membership.groups[order[low]]) for low in bounds[:-1]]
        axes.set_ylabel("group")
    rotation = 0 if short else 90
    axes.set_yticks(ticks, names if known else ["clients"] * len(ticks), rotation=rotation, va="center", color=INK)
    axes.set(xlim=(-0.5, len(membership.clusters) - 0.5), ylim=(len(order), 0), xticks=[])
    axes.set_title(f"{membership.label}, seed {membership.seed}" if membership.others else membership.label)
    axes.grid(False)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def _agreement(axes: Axes, membership: Membership) -> None:
    from matplotlib.ticker import MaxNLocator

    low = 0.0
    grey: dict[str, Any] = {"color": GREY, "linewidth": 0.7}
    ink: dict[str, Any] = {"color": INK, "marker": "o", "markersize": 3}
    for course, look in [*((other, grey) for other in membership.others), (membership.agreement, ink)]:
        known = [(number, value) for number, value in enumerate(course) if value is not None]
        axes.plot([number for number, _ in known], [value for _, value in known], **look)
        low = min([low, *(value for _, value in known)])
    axes.set(xlim=(-0.5, len(membership.clusters) - 0.5), ylim=(low - 0.08, 1.08), yticks=[0, 1], xlabel="round")
    axes.set_ylabel("ARI")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def cluster_look(cluster: int) -> dict[str, Any]:
    """Colour and hatching of a cluster; hatching tells them apart in grey."""
    hatches = ("", "////", "xxxx", "\\\\\\\\", "----", "++++", "||||")
    return {
        "facecolor": COLOURS[cluster % len(COLOURS)],
        "hatch": hatches[(cluster + cluster // len(COLOURS)) % len(hatches)],
        "edgecolor": "white",
    }


def _number(value: int | None) -> int:
    return -1 if value is None else value
