"""The section "How many clusters" of docs/cosmos.md (benchmarks room): a pure function of the study's CSV files."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd

from .protocol import DESIGN, EMERGING, JUDGED, MARGIN, ROUNDS, RULES

RESULTS = Path(__file__).with_name("results")
"""Where the CSV files are."""

PAGE = Path(__file__).resolve().parents[3] / "docs" / "cosmos.md"

TEXT = Path(__file__).with_name("section.md")
"""The words of the section; `{name}` stands for what `facts` computes."""

BEGIN = "<!-- how-many-clusters: written by `make clusters`; edit benchmarks/studies/clusters/section.md instead -->"
END = "<!-- end -->"

NAMES = {"no floor": "silhouette, never one", "groups": "groups *"}
"""Rules under another name in tables."""


def write(page: Path = PAGE, results: Path = RESULTS) -> Path:
    """Write the section again, in its place on the page, and say where it is.

    Raises:
        ValueError: the page has not exactly one place for it.
    """
    section = f"{BEGIN}\n\n{TEXT.read_text(encoding='utf-8').format(**facts(results))}\n{END}"
    place = rf"<!-- how-many-clusters:.*?-->\n.*?{re.escape(END)}"
    text, found = re.subn(place, lambda _: section, page.read_text(encoding="utf-8"), flags=re.DOTALL)
    if found != 1:
        raise ValueError(f"{page} has {found} places `<!-- how-many-clusters: -->` ... `{END}`, one is needed")
    page.write_text(text, encoding="utf-8")
    return page


def facts(results: Path = RESULTS) -> dict[str, str]:
    """The tables and numbers of the section, as text."""
    every = pd.concat([pd.read_csv(results / f"{name}-clusters.csv") for name in (*DESIGN, *JUDGED)])
    accuracy = pd.concat([pd.read_csv(results / f"{name}-accuracy.csv") for name in JUDGED])
    grouped, alone = every[every.groups > 1], every[every.groups == 1]
    judged = grouped[grouped.dataset.isin(JUDGED)]
    index = {rule: float(judged[f"{rule}: ARI"].mean()) for rule in RULES}
    taken = chosen(results)
    one = alone[alone.dataset.isin(JUDGED)][f"{taken}: K"] == 1
    return {
        "cases": str(len(grouped)),
        "judged_cases": str(len(judged)),
        "margin": f"{MARGIN:g}",
        "design": ", ".join(DESIGN),
        "judged": ", ".join(JUDGED),
        "rules": _rules(grouped, judged, alone),
        "datasets": _datasets(judged),
        "accuracies": _accuracies(accuracy),
        "rounds": str(ROUNDS),
        "chosen": taken,
        "ahead": f"{index[taken] - index['auto']:+.3f}",
        "unfloored": f"{index['no floor'] - index['auto']:+.3f}",
        "one_group": f"{100 * one.mean():.0f} %",
        "client_even": f"{_lead(accuracy, taken, 5.0, 'client'):+.2f}",
        "server_even": f"{_lead(accuracy, taken, 5.0, 'server_assigned'):+.2f}",
        "client_skewed": f"{_lead(accuracy, taken, 0.5, 'client'):+.2f}",
        "server_skewed": f"{_lead(accuracy, taken, 0.5, 'server_assigned'):+.2f}",
        **{
            f"{rule}_{name}": f"{_lead(accuracy, rule, 0.5, view):+.1f}"
            for rule in ("quantile", "stability")
            for name, view in (("client", "client"), ("server", "server_assigned"))
        },
        "taken": _listed([rule for rule in EMERGING if index[rule] >= index["auto"] - MARGIN]),
        "refused": _listed([rule for rule in EMERGING if index[rule] < index["auto"] - MARGIN]),
    }


def chosen(results: Path = RESULTS) -> str:
    """The rule that `protocol` takes: best on the design sets of those near enough to `auto` on the judged ones."""
    means = {}
    for side in (DESIGN, JUDGED):
        rows = pd.concat([pd.read_csv(results / f"{name}-clusters.csv") for name in side])
        means[side] = {rule: float(rows[rows.groups > 1][f"{rule}: ARI"].mean()) for rule in RULES}
    near = [rule for rule in EMERGING if means[JUDGED][rule] >= means[JUDGED]["auto"] - MARGIN]
    return max(near, key=lambda rule: means[DESIGN][rule], default="auto")


def _lead(accuracy: pd.DataFrame, rule: str, alpha: float, view: str) -> float:
    """Points by which a rule's mean accuracy is above that of `auto`."""
    rows = accuracy[accuracy.alpha == alpha]
    return float(rows[rows.rule == rule][view].mean() - rows[rows.rule == "auto"][view].mean())


def _rules(grouped: pd.DataFrame, judged: pd.DataFrame, alone: pd.DataFrame) -> str:
    """A line per rule: index on both sides, by alpha and mixing, K found."""
    design = grouped[grouped.dataset.isin(DESIGN)]
    heading = ["rule", "ARI, design", "ARI, judged", "alpha 5", "alpha 0.5", "unmixed", "mixed", "K of 2", "K of 5"]
    lines = []
    for rule in RULES:
        ari, found = f"{rule}: ARI", f"{rule}: K"
        cuts = [judged, judged[judged.alpha == 5], judged[judged.alpha == 0.5]]
        cuts += [judged[judged.mixing == 0], judged[judged.mixing > 0]]
        lines.append(
            [NAMES.get(rule, rule), *(f"{cut[ari].mean():.3f}" for cut in (design, *cuts))]
            + [f"{judged[judged.groups == groups][found].mean():.1f}" for groups in (2, 5)]
            + [f"{100 * (alone[alone.dataset.isin(JUDGED)][found] == 1).mean():.0f} %"]
        )
    return _table([*heading, "one group seen"], lines)


def _datasets(judged: pd.DataFrame) -> str:
    """The index of every rule on each judged data set."""
    lines = [
        [name, *(f"{judged[judged.dataset == name][f'{rule}: ARI'].mean():.2f}" for rule in RULES)] for name in JUDGED
    ]
    return _table(["data set", *(NAMES.get(rule, rule) for rule in RULES)], lines)


def _accuracies(rows: pd.DataFrame) -> str:
    """Mean accuracies in percent by rule and alpha."""
    heading = ["rule", "client, alpha 5", "server_assigned", "K", "client, alpha 0.5", "server_assigned", "K"]
    lines = []
    for rule in dict.fromkeys(rows.rule):
        line = [NAMES.get(rule, rule)]
        for alpha in (5.0, 0.5):
            some = rows[(rows.rule == rule) & (rows.alpha == alpha)]
            line += [f"{some.client.mean():.2f}", f"{some.server_assigned.mean():.2f}", f"{some.K.mean():.1f}"]
        lines.append(line)
    return _table(heading, lines)


def _listed(names: list[str]) -> str:
    """Names as part of a sentence."""
    marked = [f"`{name}`" for name in names]
    return " and ".join([", ".join(marked[:-1]), marked[-1]] if len(marked) > 1 else marked) or "none"


def _table(heading: list[str], lines: list[list[str]]) -> str:
    """A Markdown table with numbers to the right."""
    rows = [heading, ["---", *["--:"] * (len(heading) - 1)], *lines]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
