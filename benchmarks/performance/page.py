"""docs/performance.md (benchmarks room): a pure function of the stored results, with a plot of how cost grows."""

from __future__ import annotations

import math
import statistics
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .step import KINDS
from .store import RESULTS, stored
from .workloads import WORKLOADS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from matplotlib.figure import Figure

    from .measure import Row

DOCS = Path(__file__).resolve().parents[2] / "docs"
"""Where the page and its plot go."""

PIXELS = 28 * 28
"""Numbers of an image."""

INTRODUCTION = Path(__file__).with_name("page.md")
"""The words of the page that do not depend on results."""

SUMMARY = """![Seconds per round of plain, frameworks, careful and fl-bench, and the floor](performance-summary.svg)

A round on a CPU in seconds, contenders in turns; shorter is better (measured {measured}). *floor* is the arithmetic
of the work at the rate of the fastest matrix product. No program reaches it.
"""
"""What stands on top, where there is something to show."""

LEADS = Path(__file__).with_name("gpu") / "leads.md"
"""What is predicted for a GPU, and the scripts that would measure it."""


def write(docs: Path = DOCS, results: Path = RESULTS) -> list[Path]:
    """Write the page and its plot, and say where they are."""
    runs = stored(results)
    pages = {docs / "performance.md": page(runs)}
    if any(_rows(run, "scaling") for run in runs.values()):
        pages[docs / "performance-scaling.svg"] = plot(runs)
    if "cpu" in runs and _rows(runs["cpu"], "rounds"):
        pages[docs / "performance-summary.svg"] = summary(runs["cpu"])
    for path, text in pages.items():
        path.write_text(text)
    return list(pages)


def page(runs: Mapping[str, Mapping[str, Any]]) -> str:
    """The page for result files by kind of device."""
    cpu = runs.get("cpu")
    gpus = [run for kind, run in runs.items() if kind != "cpu"]
    title, _, introduction = INTRODUCTION.read_text().partition("\n\n")
    parts = [f"{title}\n", *([SUMMARY.format(**cpu)] if cpu and _rows(cpu, "rounds") else []), introduction]
    parts += ["## On a CPU\n", _cpu(cpu) if cpu else "not measured\n"]
    parts.append("## On a GPU\n")
    parts += [_gpu(run) for run in gpus] or ["not measured\n"]
    parts.append(LEADS.read_text())
    return "\n".join(parts)


def summary(run: Mapping[str, Any]) -> str:
    """A bar per contender and workload as SVG, the floor among them; the same bytes every time."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    rows = _rows(run, "rounds")
    names = list(dict.fromkeys(row["workload"] for row in rows))
    rate = max((row["flops"] for row in _rows(run, "rate")), default=None)
    with mpl.rc_context({"svg.hashsalt": "performance", "svg.fonttype": "none", "font.size": 9}):
        figure = Figure(figsize=(11, 2.6), layout="constrained")
        for axes, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
            own = [row for row in rows if row["workload"] == name]
            bars = {row["contender"]: statistics.median(row["seconds"]) for row in own}
            if rate is not None:
                bars["floor"] = own[0]["flops"] / rate
            colors = ["#0072b2" if label == "fl-bench" else "#b8b8b8" for label in bars]
            drawn = axes.barh(list(bars), list(bars.values()), color=colors)
            axes.bar_label(drawn, labels=[f"{value:.3g}" for value in bars.values()], padding=2, fontsize=8)
            axes.set_xlim(0, 1.25 * max(bars.values()))
            axes.invert_yaxis()
            axes.set_title(name)
            axes.set_xlabel("seconds")
            axes.spines[["top", "right"]].set_visible(False)
        return _svg(figure)


def plot(runs: Mapping[str, Mapping[str, Any]]) -> str:
    """W5 as SVG: seconds per round over what grows, a panel each, both axes logarithmic; the same bytes every time."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    panels = {"clients": "clients", "public": "images in the public pool", "classes": "classes"}
    with mpl.rc_context({"svg.hashsalt": "performance", "svg.fonttype": "none", "font.size": 9}):
        figure = Figure(figsize=(11, 3.8), layout="constrained")
        for axes, (grows, label) in zip(figure.subplots(1, len(panels)), panels.items(), strict=True):
            for run in runs.values():
                rows = [row for row in _rows(run, "scaling") if row["grows"] == grows]
                for name in dict.fromkeys(row["series"] for row in rows):
                    line = [row for row in rows if row["series"] == name]
                    median = [statistics.median(row["seconds"]) for row in line]
                    axes.loglog([row["at"] for row in line], median, marker="o", label=name)
            axes.set_xlabel(label)
            axes.set_ylabel("seconds per round")
            axes.grid(True, which="both", linewidth=0.3)
            if axes.lines:
                axes.legend(fontsize=7)
        return _svg(figure)


def _svg(figure: Figure) -> str:
    text = StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines()) + "\n"


def _cpu(run: Mapping[str, Any]) -> str:
    rate = {row["threads"]: row["flops"] for row in _rows(run, "rate")}
    return "\n".join(
        [
            _provenance(run),
            "Attainable arithmetic, float32 matrix products: "
            + ", ".join(
                f"{value / 1e9:.0f} GFLOP/s with {count} thread{'s' if count > 1 else ''}"
                for count, value in rate.items()
            )
            + ".\n",
            "### As users run it: four seeds on all cores\n",
            _grids([row for row in _rows(run, "grids") if row["seeds"] > 1], rate),
            "### As users run it: one cell on an idle machine\n",
            _grids([row for row in _rows(run, "grids") if row["seeds"] == 1], rate),
            "### Rounds in turns, in one process with all cores as torch threads\n",
            _rounds(_rows(run, "rounds"), max(rate.values(), default=None), "cpu"),
            _absent(_rows(run, "absent")),
            "### W4: twelve cells of about a second\n",
            _executor(_rows(run, "executor")),
            "### What the harness costs in a round\n",
            _overhead(_rows(run, "overhead")),
            "### Where a step of local training goes\n",
            _steps(_rows(run, "steps")),
            "### Commands that train nothing\n",
            _table(
                ["command", "median", "fastest – slowest", "starts"],
                [
                    [f"`{row['command']}`", _seconds(row["seconds"]), _span(row["seconds"]), str(len(row["seconds"]))]
                    for row in _rows(run, "commands")
                ],
            ),
            "### W5: how cost grows\n",
            _scaling(_rows(run, "scaling")),
        ]
    )


def _gpu(run: Mapping[str, Any]) -> str:
    rate = next((row["flops"] for row in _rows(run, "rate")), None)
    lines = [f"### {run['machine']['gpu']}\n", _provenance(run)]
    if rate:
        lines.append(f"Attainable arithmetic, float32 matrix products: {rate / 1e12:.1f} TFLOP/s.\n")
    rows = _rows(run, "rounds")
    if any("views" not in row for row in rows):  # a run from before the setting
        lines.append("Here fl-bench scored every view, and so tested more images than plain.\n")
    lines.append(_rounds(rows, rate, "gpu"))
    seen = {row["workload"] for row in rows}
    missing = [workload.name for workload in WORKLOADS if workload.name not in seen]
    if missing:
        lines.append(f"{', '.join(missing)}: not measured.\n")
    return "\n".join(lines)


def _provenance(run: Mapping[str, Any]) -> str:
    machine = run["machine"]
    revision = machine["revision"] or "unknown revision"
    changed = " with uncommitted changes" if machine["dirty"] else ""
    cores = f"{machine['cores']} core{'s' if machine['cores'] > 1 else ''}"
    load = "" if machine.get("load") is None else f" (load {machine['load']:.1f} when it began)"
    return (
        f"Measured {run['measured']} at {revision[:10]}{changed} (size `{machine['size']}`): {machine['cpu']}, "
        f"{cores}{load}, {machine['memory_gib']} GiB, "
        f"{machine['system']}; Python {machine['python']}, "
        f"torch {machine['packages']['torch']}, numpy {machine['packages']['numpy']}.\n"
    )


def _rounds(rows: Sequence[Row], rate: float | None, device: str) -> str:
    memory = device != "cpu"
    careful = any("careful" in row for row in rows)
    heading = ["workload", "clients", "contender", "s/round", "fastest – slowest", "× plain", "pairs"]
    heading += [*(["× careful", "pairs"] if careful else []), "images/s"]
    heading += ["of attainable", *(["peak memory"] if memory else [])]
    lines = []
    for row in rows:
        seconds = statistics.median(row["seconds"])
        lines.append(
            [
                row["workload"],
                str(row["clients"]),
                row["contender"],
                _seconds(row["seconds"]),
                _span(row["seconds"]),
                *(["", ""] if row["contender"] == "plain" else _ratio(row)),
                *([] if not careful else ["", ""] if row["contender"] == "careful" else _ratio(row.get("careful"))),
                f"{row['images'] / seconds:,.0f}",
                "" if rate is None else f"{100 * row['flops'] / seconds / rate:.1f} %",
                *([_bytes(row["peak_bytes"])] if memory else []),
            ]
        )
    return _table(heading, lines)


def _grids(rows: Sequence[Row], rate: Mapping[int | None, float]) -> str:
    lines = []
    best = max(rate.values(), default=None)
    careful = any("careful" in row for row in rows)
    for row in rows:
        wall = statistics.median(row["fl-bench"])
        busy = None if None in row["busy"] else statistics.median(row["busy"])
        lines.append(
            [
                row["workload"],
                f"{row['seeds']} × {row['rounds']}",
                _seconds(row["plain"]),
                _seconds(row["fl-bench"]),
                *_ratio(row),
                *([_seconds(row["careful"]), *_ratio(row["against careful"])] if careful else []),
                str(len(row["plain"])),
                "" if busy is None else f"{100 * busy / wall / row['workers']:.0f} %",
                "" if best is None else f"{100 * row['flops'] / wall / best:.0f} %",
            ]
        )
    heading = ["workload", "seeds × rounds", "plain", "fl-bench", "× plain", "pairs"]
    heading += ["careful", "× careful", "pairs"] if careful else []
    return _table([*heading, "number", "workers busy", "of attainable"], lines)


def _executor(rows: Sequence[Row]) -> str:
    lines = [
        [
            f"{row['wall']:.2f} s",
            str(row["workers"]),
            "" if row["busy"] is None else f"{100 * row['busy'] / row['wall'] / row['workers']:.0f} %",
            f"{row['cell']:.2f} s",
            f"{row['work']:.2f} s",
            f"{row['cell'] - row['work']:.3f} s",
            f"{row['gap']:.3f} s",
        ]
        for row in rows
    ]
    heading = ["12 cells", "workers", "cores busy", "a cell", "of it work", "of it overhead", "to the next cell"]
    return _table(heading, lines)


def _overhead(rows: Sequence[Row]) -> str:
    parts = ["training", "server", "evaluation", "channel", "checkpoint", "other"]
    lines = [
        [
            row["workload"],
            str(row["rounds"]),
            *(f"{1e3 * row[part]:.1f}" for part in ["round", *parts]),
            f"**{100 * row['share']:.1f} %**",
        ]
        for row in rows
    ]
    return _table(["workload", "rounds", "ms/round", *parts, "harness"], lines)


def _steps(rows: Sequence[Row]) -> str:
    parts = [*KINDS, "rest"]
    lines = [
        [
            row["workload"],
            str(row["steps"]),
            f"{1e6 * row['step']:,.0f}",
            *(f"{1e6 * row[part]:,.0f} ({100 * row[part] / row['step']:.0f} %)" for part in parts),
        ]
        for row in rows
    ]
    return _table(["workload", "steps", "µs/step", *parts], lines)


def _scaling(rows: Sequence[Row]) -> str:
    lines = []
    for row in rows:
        seconds = statistics.median(row["seconds"])
        server = statistics.median(row["seconds_server"])
        used = None if row["peak_bytes"] is None else row["peak_bytes"] - row["base_bytes"]
        lines.append(
            [
                row["series"],
                f"{row['at']:,} {row['grows']}",
                _seconds(row["seconds"]),
                f"{1e3 * seconds / row['clients']:.1f}",
                f"{server:.3f} s",
                f"{row['images'] / seconds:,.0f}",
                _bytes(row["peak_bytes"]),
                _bytes(used),
            ]
        )
    heading = ["series", "at", "s/round", "ms/client", "server", "images/s", "peak memory", "above start"]
    picture = "![Seconds per round over clients, public images and classes](performance-scaling.svg)\n"
    return "\n".join([picture, _table(heading, lines), _growth(rows)])


def _growth(rows: Sequence[Row]) -> str:
    """Exponents of time from 30 or the first point on, and the copies of the clients' weights that memory grows by."""
    lines = []
    for name in dict.fromkeys(row["series"] for row in rows):
        line = [row for row in rows if row["series"] == name]
        first = next((row for row in line if row["at"] >= 30), line[0])
        last = line[-1]
        if first["at"] == last["at"]:
            continue
        span = math.log(last["at"] / first["at"])
        exponents = [
            math.log(statistics.median(last[part]) / statistics.median(first[part])) / span
            for part in ("seconds", "seconds_server")
        ]
        copies = ""
        if last["grows"] == "clients" and last["peak_bytes"] is not None:
            before = line[-2]
            rise = (last["peak_bytes"] - _kept(last["rows"])) - (before["peak_bytes"] - _kept(before["rows"]))
            copies = f"{rise / (4 * last['parameters'] * (last['clients'] - before['clients'])):.1f}"
        where = f"{first['at']:,} → {last['at']:,} {last['grows']}"
        lines.append([name, where, *(f"{exponent:.2f}" for exponent in exponents), copies])
    return _table(["series", "between", "exponent of s/round", "of server seconds", "copies of the weights"], lines)


def _kept(rows: int) -> int:
    """Bytes of images: a byte per pixel, and float32 as nets see them unless that is too much."""
    from ...federation.data import PREPARED_BYTES

    seen = 4 * PIXELS * rows
    return PIXELS * rows + (seen if seen <= PREPARED_BYTES else 0)


def _absent(rows: Sequence[Row]) -> str:
    reasons = dict.fromkeys((row["contender"], row["reason"]) for row in rows if row["workload"] in ("W1", "W2"))
    return "".join(f"{name}: not measured ({reason}).\n" for name, reason in reasons)


def _rows(run: Mapping[str, Any], table: str) -> list[Row]:
    return [row for row in run["rows"] if row["table"] == table]


def _table(heading: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """A Markdown table; `not measured` where there are no lines."""
    lines = list(lines)
    if not lines:
        return "not measured\n"
    join: Callable[[Sequence[str]], str] = lambda cells: f"| {' | '.join(cells)} |"  # noqa: E731
    return "\n".join([join(heading), join(["---"] * len(heading)), *map(join, lines)]) + "\n"


def _ratio(found: Mapping[str, float] | None) -> list[str]:
    """Cells for a ratio and for its smallest and largest pair; empty where there is none."""
    if found is None:
        return ["", ""]
    return [f"**{found['ratio']:.2f}**", f"{found['lowest']:.2f} – {found['highest']:.2f}"]


def _seconds(seconds: Sequence[float]) -> str:
    return f"{statistics.median(seconds):.3g} s"


def _span(seconds: Sequence[float]) -> str:
    return f"{min(seconds):.3g} – {max(seconds):.3g}"


def _bytes(count: float | None) -> str:
    if count is None:
        return ""
    return f"{count / 2**20:,.0f} MiB" if count > 0 else "not measured"
