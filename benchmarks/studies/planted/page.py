"""The planted study in docs/cosmos-studies.md (benchmarks room): a pure function of the study's files."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from ..sections import STUDIES, put, table
from .files import ARMS, CALIBRATION, HERE, OUTCOMES, number, read, show_interval
from .study import POOL, ROUNDS, SEEDS, WORLD

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from ....cosmos.theory.steps import Slope
    from ....cosmos.theory.verdicts import Judgement
    from .study import Curves

TEXT = HERE / "section.md"
"""The words of the section; `{name}` stands for what `facts` computes."""


def arm_row(name: str, curves: Curves, judgement: Judgement) -> dict[str, str]:
    """An arm's numbers as they are committed."""
    step, links = judgement.step, judgement.chain
    first, last = (curves.clients[:, :, t].mean() for t in (0, -1))
    return {
        "arm": name,
        "first": number(first),
        "last": number(last),
        "slope": known(step.rho),
        "slope_interval": show_interval(step.rho.interval),
        "intercept": known(step.intercept),
        "intercept_interval": show_interval(step.intercept.interval),
        "floor": known(step.floor),
        "floor_interval": show_interval(step.floor.interval),
        "fit_rho": number(judgement.fit.rho),
        "best_form": judgement.fit.best,
        "a": "" if links is None else known(links.a),
        "b": "" if links is None else known(links.b),
        "through_server": "" if links is None else known(links.through_server),
        "through_server_interval": "" if links is None else show_interval(links.through_server.interval),
        "verdict": judgement.verdict,
        "reason": judgement.reason,
    }


def known(slope: Slope) -> str:
    """An estimate, or nothing where the data do not tell it."""
    return "" if slope.interval is None else number(slope.estimate)


def mean_curves(curves: Mapping[str, Curves]) -> Iterator[dict[str, str]]:
    """Means over clients in each round, of each arm and seed, as they are committed."""
    for name, found in curves.items():
        for seed, means in enumerate(found.clients.mean(axis=1)):
            server = None if found.server is None else found.server[seed].mean(axis=0)
            for t, mean in enumerate(means):
                taught = "" if server is None else number(float(server[t]))
                yield {"arm": name, "seed": str(seed), "round": str(t), "client": number(float(mean)), "server": taught}


def write(page: Path = STUDIES) -> Path:
    """Put the section into its place on the page.

    Raises:
        ValueError: the page has not exactly one place for it.
    """
    return put("planted", "make planted", TEXT, TEXT.read_text(encoding="utf-8").format(**facts()), page)


def facts() -> dict[str, Any]:
    """Tables and numbers of the section, as text."""
    arms, outcomes, calibration = read(ARMS), read(OUTCOMES), read(CALIBRATION)
    held = Counter(row["outcome"] for row in outcomes)
    without = [row for row in calibration if not row["world"].startswith("taught")]
    quiet = [row for row in without if "noise" not in row["world"]]
    return {
        "arms": table(
            ["arm", "excess, first", "last", "slope (95 %)", "intercept (95 %)", "floor (95 %)", "verdict"],
            [
                [
                    row["arm"],
                    _short(row["first"]),
                    _short(row["last"]),
                    *(_with(row[name], row[f"{name}_interval"]) for name in ("slope", "intercept", "floor")),
                    row["verdict"],
                ]
                for row in arms
            ],
        ),
        "outcomes": table(
            ["prediction", "expected", "found (95 %)", "the prediction is"],
            [
                [
                    f"{row['quantity']} of {row['arm']}" + (f" against {row['against']}" if row["against"] else ""),
                    row["expected"],
                    row["found"] if row["quantity"] == "verdict" else _with(row["found"], row["interval"]),
                    row["outcome"],
                ]
                for row in outcomes
            ],
        ),
        "calibration": table(
            ["planted curves", "supported", "not supported", "not identified", "slope", "floor", "fit: rho", "fit: F"],
            [[value or "-" for key, value in row.items() if key != "simulations"] for row in calibration],
        ),
        "arm": {row["arm"]: {key: _short(row[key]) for key in ("first", "last", "slope", "floor")} for row in arms},
        "count": str(len(outcomes)),
        **{kind.replace(" ", "_"): str(held[kind]) for kind in ("supported", "not supported", "not identified")},
        "simulations": calibration[0]["simulations"],
        "least_refused": str(min(int(row["not supported"]) for row in quiet)),
        "most_claimed": str(max(int(row["supported"]) for row in without)),
        "seeds": str(SEEDS),
        "rounds": str(ROUNDS),
        "clients": str(WORLD.clients),
        "groups": str(WORLD.groups),
        "private": str(WORLD.train - POOL // WORLD.clients),
        "separation": f"{WORLD.separation:g}",
        "heterogeneity": f"{WORLD.heterogeneity:g}",
        "bayes": _short(number(WORLD.bayes.cross_entropy)),
        "shared": _short(number(WORLD.shared.cross_entropy - WORLD.bayes.cross_entropy)),
    }


def _short(value: str) -> str:
    return f"{float(value):.3f}" if value else "-"


def _with(value: str, interval: str) -> str:
    if not value:
        return "-"
    low, _, high = interval.partition(" to ")
    return f"{_short(value)} ({_short(low)} to {_short(high)})" if interval else f"{_short(value)} (unbounded)"
