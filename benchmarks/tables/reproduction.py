"""A paper's experiments run again, for people (benchmarks room): our rows beside published values, what lacks, why."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .printing import print_table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.console import Console

    from ..leaderboard.published import Curves, Difference, Lacking, Published, Row


def print_rows(console: Console, rows: Sequence[Row], published: Published, curves: Sequence[Curves]) -> None:
    """A table per data set, mix of networks and change of the protocol that was run."""
    for dataset, nets, changes in dict.fromkeys((row.dataset, row.nets, row.changes) for row in rows):
        block = [row for row in rows if (row.dataset, row.nets, row.changes) == (dataset, nets, changes)]
        badges = dict.fromkeys(badge for row in block for badge in row.badges)
        marks = {badge: "*" * count for count, badge in enumerate(badges, 1)}
        notes = [f"{mark} {badge}" for badge, mark in marks.items()]
        notes += [f"not as the grid asks: {', '.join(changes)}"] if changes else []
        print_table(
            console,
            [_cells(row, marks) for row in block],
            title=f"{dataset}, clients with {', '.join(nets)}",
            folding=(),
            caption="\n".join(notes),
        )
        console.print()
    if rows:
        console.print(
            "first, last, top-5: percent, mean over clients and seeds, after the first and the last round (± std over "
            "seeds). A view after · is not the method's number. Published COSMOS is of the kind server_oracle (Q1), "
            f"the others' are their clients'. Published: {published.precision}.\n",
            highlight=False,
        )
    print_table(
        console,
        [_curve(one) for one in curves],
        title=f"Published at the last iteration, in percent ({published.precision})",
        caption=f"Source: {published.source}. At 0: at iteration 0, COSMOS / others.",
    )


def print_lacking(
    console: Console, lacking: Sequence[Lacking], data: Mapping[str, tuple[bool, str]], commands: Sequence[str]
) -> None:
    """What the grid asks for and was not run, and how to get the data and run it.

    Args:
        console: where to.
        lacking: what lacks.
        data: whether each data set is at hand, and where, or what would bring it.
        commands: what would run it.
    """
    if not lacking:
        console.print("All that the paper shows was run.\n", highlight=False)
        return
    rows = [
        {
            "data set": one.dataset,
            "networks": " ".join(one.nets),
            "not run": f"{one.runs} of {one.asked} runs",
        }
        for one in lacking
    ]
    console.print()
    print_table(console, rows, title="In the paper, and not run as the grid asks")
    for text in (ended for one in lacking for ended in one.ended):
        console.print(text, markup=False, highlight=False)
    for name, (found, where) in data.items():
        text = f"{name} is at hand: {where}" if found else f"{name} is not at hand. To get it: {where}"
        console.print(text, markup=False, highlight=False, soft_wrap=True)
    for command in commands:
        console.print(f"  {command}", markup=False, highlight=False, soft_wrap=True)
    console.print()


def print_differences(console: Console, differences: Sequence[Difference]) -> None:
    """Where the authors' protocol and ours part."""
    rows = [{"": one.number, "in the authors' code": one.theirs, "here": one.here} for one in differences]
    print_table(console, rows, title="Where the protocols differ")


def _cells(row: Row, marks: Mapping[str, str]) -> dict[str, Any]:
    spread = "" if row.top1_std is None else f" ± {row.top1_std:.2f}"
    name = row.method if row.deployed else f"· {row.view}"
    value = "" if row.published is None else f"~{row.published} {row.metric if row.metric == 'top-5' else ''}".strip()
    return {
        "method": " ".join([name, *(marks[badge] for badge in row.badges)]),
        "first": row.first,
        "last": "" if row.top1 is None else f"{row.top1:.2f}{spread}",
        "top-5": row.top5,
        "published": value,
        "seeds": " ".join(row.seeds),
    }


def _curve(one: Curves) -> dict[str, Any]:
    return {
        "data set": one.dataset if one.metric == "top-1" else f"{one.dataset}, {one.metric}",
        "networks": " ".join(one.nets),
        **{name: f"~{value}" for name, value in one.last.items()},
        "at 0": f"~{one.first['cosmos']} / {one.first['others']}" if one.first else "",
    }
