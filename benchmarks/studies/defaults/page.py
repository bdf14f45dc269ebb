"""docs/defaults.md (benchmarks room): what changed defaults do, and which methods do the same; records in, text out."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fl_bench.errors import ConfigError

from ....methods.registry import METHODS
from ...grid.protocol import Protocol
from ...records.store import Store
from ..sections import DOCS, listed, table, wrapped
from .alike import SETTINGS, accuracies, alike, losses, setting

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ...records.record import Record
    from .alike import Runs

RECORDS = DOCS.parent / "results" / "defaults"
"""The records of the grid `defaults`."""

PAGE = DOCS / "defaults.md"

TEXT = Path(__file__).with_name("page.md")
"""The words of the page; `{name}` stands for what `facts` computes."""

BEFORE = " as it was"
"""How the labels end under which the grid has a changed default as it was before."""


def write(page: Path = PAGE) -> Path:
    """Write the page again, and say where it is.

    Raises:
        ConfigError: there are no records, or none of a registered method at its present version.
    """
    page.write_text(wrapped(TEXT.read_text(encoding="utf-8").format(**facts())), encoding="utf-8")
    return page


def facts(results: Path = RECORDS) -> dict[str, str]:
    """Tables and numbers of the page, as text.

    Raises:
        ConfigError: there are no records, or none of a registered method at its present version.
    """
    records = Store(results).records()
    if lacking := outdated(records):
        raise ConfigError(f"{results} has no runs of {', '.join(lacking)} as they are now: `fl-bench run defaults`")
    accuracy = accuracies(records)
    changed = sorted(label.removesuffix(BEFORE) for label in accuracy[SETTINGS[0]] if label.endswith(BEFORE))
    pairs = alike(losses(records), METHODS.names())
    level = [pair for pair in alike(accuracy, METHODS.names()) if {"local", "fedavg"} & {*pair}]
    return {
        "runs": str(len(records)),
        "seeds": listed(sorted({str(record.cell["seed"]) for record in records})),
        "methods": str(len(METHODS.names())),
        "changed": table(
            ["default of", *(f"{name}: before, now" for name in SETTINGS)],
            [[name, *(_compared(accuracy[place], name) for place in SETTINGS)] for name in changed],
        ),
        "pairs": table(
            ["methods", *SETTINGS, "reason"],
            [
                [" and ".join(pair), *(f"{by[place]:.2f}" for place in SETTINGS), _reason(pair)]
                for pair, by in pairs.items()
            ],
        ),
        "level": listed([" and ".join(f"`{name}`" for name in pair) for pair in level]),
    }


def outdated(records: Sequence[Record]) -> list[str]:
    """Registered methods without runs at their present version in every setting, sorted."""
    have: dict[str, set[str]] = defaultdict(set)
    for record in records:
        name = record.cell["method"]["name"]
        if record.status == "done" and record.protocol == Protocol.now(METHODS[name]):
            have[record.label].add(setting(record))
    return [name for name in METHODS.names() if have[name] != {*SETTINGS} - _impossible(name)]


def _impossible(name: str) -> set[str]:
    """Settings that the method cannot run in: those without latent groups, where it asks for the true ones."""
    return {"skewed"} if METHODS[name].requires.groups else set()


def _compared(accuracy: Mapping[str, Runs], name: str) -> str:
    """Validation accuracy with the default before and now, and the difference with its range over seeds."""
    now, before = (
        np.array([float(value[0]) for (_, varied), value in sorted(accuracy[label].items()) if not varied])
        for label in (name, name + BEFORE)
    )
    gains = now - before
    return f"{before.mean():.1f}, {now.mean():.1f} ({gains.min():+.1f} to {gains.max():+.1f})"


def _reason(pair: tuple[str, str]) -> str:
    one, other = pair
    said = dict(METHODS[one].near) | dict(METHODS[other].near)
    return said.get(one) or said.get(other) or "its card does not say"
