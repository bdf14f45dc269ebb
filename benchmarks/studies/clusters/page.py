"""How many clusters, in docs/cosmos-studies.md (benchmarks room): a pure function of the study's CSV files."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from ..sections import STUDIES, listed, put, table
from .protocol import DESIGN, EMERGING, JUDGED, MARGIN, ROUNDS, RULES

RESULTS = Path(__file__).with_name("results")
"""Where the CSV files are."""

TEXT = Path(__file__).with_name("section.md")
"""The words of the section; `{name}` stands for what `facts` computes."""

NAMES = {"no floor": "silhouette, never one", "groups": "groups *"}
"""Rules under another name in tables."""


def write(page: Path = STUDIES, results: Path = RESULTS) -> Path:
    """Write the section again, in its place on the page, and say where it is.

    Raises:
        ValueError: the page has not exactly one place for it.
    """
    text = TEXT.read_text(encoding="utf-8").format(**facts(results))
    return put("how-many-clusters", "make clusters", TEXT, text, page)


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
        "short": _short(judged, ("auto", taken, "groups")),
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
        "taken": _rules_named([rule for rule in EMERGING if index[rule] >= index["auto"] - MARGIN]),
        "refused": _rules_named([rule for rule in EMERGING if index[rule] < index["auto"] - MARGIN]),
    }


def chosen(results: Path = RESULTS) -> str:
    """The rule that `protocol` takes: best on the design sets of those near enough to `auto` on the judged ones."""
    means = {}
    for side in (DESIGN, JUDGED):
        rows = pd.concat([pd.read_csv(results / f"{name}-clusters.csv") for name in side])
        means[side] = {rule: float(rows[rows.groups > 1][f"{rule}: ARI"].mean()) for rule in RULES}
    near = [rule for rule in EMERGING if means[JUDGED][rule] >= means[JUDGED]["auto"] - MARGIN]
    return max(near, key=lambda rule: means[DESIGN][rule], default="auto")


def _rules_named(names: list[str]) -> str:
    return listed([f"`{name}`" for name in names])


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
    return table([*heading, "one group seen"], lines, right=True)


def _short(judged: pd.DataFrame, rules: tuple[str, ...]) -> str:
    """The index of some rules on the judged sets, and the numbers of clusters that they find."""
    heading = ["rule", "ARI at alpha 5", "ARI at alpha 0.5", "K found of 2", "K found of 5"]
    lines = [
        [
            NAMES.get(rule, rule),
            *(f"{judged[judged.alpha == alpha][f'{rule}: ARI'].mean():.2f}" for alpha in (5, 0.5)),
            *(f"{judged[judged.groups == groups][f'{rule}: K'].mean():.1f}" for groups in (2, 5)),
        ]
        for rule in rules
    ]
    return table(heading, lines, right=True)


def _datasets(judged: pd.DataFrame) -> str:
    """The index of every rule on each judged data set."""
    lines = [
        [name, *(f"{judged[judged.dataset == name][f'{rule}: ARI'].mean():.2f}" for rule in RULES)] for name in JUDGED
    ]
    return table(["data set", *(NAMES.get(rule, rule) for rule in RULES)], lines, right=True)


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
    return table(heading, lines, right=True)
