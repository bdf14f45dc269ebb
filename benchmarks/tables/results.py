"""The table at the end of a run (benchmarks room): leaderboard lines for people, and as JSON."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from statistics import fmean
from typing import TYPE_CHECKING, Any

from ...federation.settings import UNSEEN
from ..grid.names import in_order
from ..grid.repetition import Repetition
from ..leaderboard.lines import LEAKS
from ..leaderboard.naming import in_setting
from ..leaderboard.own_rate import MARK, OWN_RATE, OWN_STEPS, STEPS_MARK, cautioned
from ..leaderboard.poisoned import over_poisoned
from ..leaderboard.reported import SELECTIONS
from ..leaderboard.sampling import decided_by_new
from ..leaderboard.versions import mixture
from .printing import print_json, print_table
from .values import show_bytes, show_seconds

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from rich.console import Console

    from ..leaderboard.lines import Line


BOUND = "bound"
"""The category of methods that others are not ranked with."""

PARTS = {"took\npart": "acc_drawn", "never": "acc_new", "honest": "acc_honest"}
"""Columns for the accuracy of some of the clients, where lines tell it."""


def print_results(console: Console, board: Sequence[Line], *, explain: bool = False) -> None:
    """The table at the end of a run: a table per dataset and setting, with what is needed to read it.

    Args:
        console: where to.
        board: lines of any data sets and settings.
        explain: whether all columns are explained.
    """
    blocks: dict[tuple[str, str, str], list[Line]] = {}
    for line in board:
        blocks.setdefault((line.dataset, line.setting_name, line.setting), []).append(line)
    for dataset, name, setting in sorted(blocks, key=lambda block: (block[0], in_order(block[1]))):
        block = blocks[dataset, name, setting]
        ordered = sorted(
            block,
            key=lambda line: (
                line.category == BOUND,
                -_best(block, line.method),
                line.method,
                not line.deployed,
                line.view,
            ),
        )
        badges = dict.fromkeys(line.badges for line in ordered if line.badges)
        marks = {badge: "*" * count for count, badge in enumerate(badges, 1)}
        parts = [(name, column) for name, column in PARTS.items() if _told(block, column)]
        rows = [_result(line, marks, parts) for line in ordered]
        if len({row["runs"] for row in rows}) == 1 and len(_seeds(block)) == block[0].seeds:  # the legend names them
            rows = [{name: row[name] for name in row if name != "runs"} for row in rows]
        print_table(
            console,
            rows,
            title=in_setting(dataset, name),
            folding=(),
            apart=sum(line.category == BOUND for line in ordered),
            caption="\n".join(
                [
                    *(["; ".join(f"{mark} {badge}" for badge, mark in marks.items())] if marks else []),
                    *_legend(block),
                    *(_explained(block) if explain else ()),
                    *_notes(block),
                ]
            ),
        )
        _print_leaks(console, block)


def _print_leaks(console: Console, block: Sequence[Line]) -> None:
    """What a curious server found out, where runs were attacked."""
    lines = [line for line in block if line.deployed]
    if all(getattr(line, column) is None for line in lines for column in LEAKS):
        return
    where = in_setting(block[0].dataset, block[0].setting_name)
    lines.sort(key=lambda line: (line.leak_membership is None, line.leak_membership, line.leak_labels or 0.0))
    print_table(
        console,
        [
            {
                "method": line.method,
                "accuracy %": _short(line.acc_mean),
                "shares off by": _short(line.leak_labels),
                "a prior by": _short(line.leak_labels_prior),
                "members: area": _short(line.leak_membership),
                "found at 1 %": _share(line.leak_membership_tpr),
            }
            for line in lines
        ],
        title=f"{where}: what a curious server learns from the last messages",
        folding=(),
        caption=(
            "shares: class shares that it infers, total variation to the true ones; members: area under the curve of "
            "its guesses whether a sample was trained on, 0.5 is guessing; no number: not attacked, which does not say "
            "that nothing leaks (docs/leakage.md)"
        ),
    )


def _share(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.1f} %"


def print_lines_json(board: Sequence[Line]) -> None:
    """The same lines as JSON."""
    print_json([asdict(line) for line in board])


def _told(block: Sequence[Line], column: str) -> bool:
    """Whether a table has a column for the accuracy of some of the clients."""
    asked = "acc_new" if column == "acc_drawn" else column
    return any(getattr(line, asked) is not None for line in block)


def _result(line: Line, marks: Mapping[str, str], parts: Sequence[tuple[str, str]]) -> dict[str, Any]:
    spread = "" if line.acc_std is None else f" ± {line.acc_std:.2f}"
    ended = Counter(part.partition(":")[2] for part in line.seeds_not_done.split())
    troubles = [f"{count} {status}" for status, count in sorted(ended.items())]
    missing = [f"no seed {line.seeds_missing}"] if line.seeds_missing else []
    name = line.method if line.deployed else f"· {line.view}"
    if line.deployed and line.view not in ("", "client"):
        name += f" ({line.view})"
    rules = line.trained_with if line.deployed else None
    own = {MARK: rules.own, STEPS_MARK: rules.own_steps} if rules else {}
    signs = [*([marks[line.badges]] if line.badges else []), *(mark for mark, words in own.items() if words)]
    return {
        "method": " ".join([name, *signs]),
        "accuracy %": "" if line.acc_mean is None else f"{line.acc_mean:.2f}{spread}",
        "val": "" if line.val is None else f"{line.val:.1f}",
        **{name: _short(getattr(line, column)) for name, column in parts},
        "vs\nlocal": "" if line.gap_to_local is None else f"{line.gap_to_local:+.2f}",
        "worst\n10%": _short(line.acc_worst_decile),
        "up": show_bytes(line.bytes_up),
        "down": show_bytes(line.bytes_down),
        "time": show_seconds(line.seconds),
        "runs": ", ".join([str(line.seeds), *troubles, *missing]),
    }


def _short(accuracy: float | None) -> str:
    return "" if accuracy is None else f"{accuracy:.2f}"


def _best(block: Sequence[Line], method: str) -> float:
    return max((line.acc_mean or 0.0 for line in block if line.method == method and line.deployed), default=0.0)


def _seeds(block: Sequence[Line]) -> list[Repetition]:
    return sorted({Repetition.parse(seed) for line in block for seed in line.seeds_done.split()})


def _legend(block: Sequence[Line]) -> list[str]:
    """What a table is of, and what its numbers are, in two lines."""
    ceilings = [line.in_group_ceiling for line in block if line.in_group_ceiling is not None]
    share = f"; in-group share {fmean(ceilings):.1f} %" if ceilings else ""
    seeds = _seeds(block)
    bounds = "; bounds apart" if any(line.category == BOUND for line in block) else ""
    named = " ".join(map(str, seeds))
    over = f"mean ± std over seeds {named}" if len(seeds) > 1 else f"seed {named}" if seeds else "no seed is done"
    return [
        f"{block[0].setting_brief}{share}",
        f"accuracy: {over}, at {SELECTIONS[block[0].selection]}{bounds} (--explain)",
    ]


def _explained(block: Sequence[Line]) -> Iterator[str]:
    """What all columns are, and words of the first lines."""
    yield block[0].setting_text
    yield "accuracy: mean over clients, then over seeds; a row after · is another view, not the method's result"
    yield "val: accuracy on validation data; settings may be chosen by it"
    yield "vs local: points, the method minus Local-only; worst 10%: mean over the worst tenth of clients"
    yield "up, down: bytes per client, mean over rounds (in the first, nothing is received)"
    yield "bounds: not ranked with federated methods, such as training on pooled data or on each client's data alone"
    if _told(block, "acc_new"):
        yield "took part, never: accuracy over the clients that took part in at least one round, and over the others"
    if _told(block, "acc_honest"):
        yield "honest: accuracy over the clients that are not poisoned"
    if any(line.view == UNSEEN for line in block):
        yield (
            f"{UNSEEN}: clients that were kept out of training, after each method admitted them at the end, on their "
            "own test data; vs local: against Local-only's on the same clients"
        )
    if any(line.in_group_ceiling is not None for line in block):
        yield "in-group share: the best accuracy of a model that knows only the classes of its client's group"


def _notes(block: Sequence[Line]) -> list[str]:
    """What the reader of a table must know."""
    notes = dict.fromkeys(f"{line.method}: {line.note}" for line in block if line.note)
    rules = {line.method: line.trained_with for line in block if line.trained_with is not None}
    rates = [f"{MARK} {method}: {OWN_RATE}, {own.own}" for method, own in rules.items() if own.own]
    steps = [f"{STEPS_MARK} {method}: {OWN_STEPS}, {own.own_steps}" for method, own in rules.items() if own.own_steps]
    cautions = [
        *cautioned(block),
        mixture({line.method: line.protocols for line in block}),
        *decided_by_new(block).values(),
        *over_poisoned(block).values(),
    ]
    return [*notes, *rates, *steps, *filter(None, cautions)]
