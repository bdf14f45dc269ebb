"""The stored results of the faults (benchmarks room): a JSON file per family, whose rows say where they come from."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fl_bench.files import write_file

from ..running.provenance import machine, software

if TYPE_CHECKING:
    from collections.abc import Sequence

RESULTS = Path(__file__).with_name("results")
"""Where result files are."""

FORMAT = 2
"""Version of the files."""


def keep(family: str, rows: Sequence[dict[str, Any]], results: Path = RESULTS) -> Path:
    """Write rows into the result file of a family; each takes the place of the one before of the same fault."""
    before = stored(results).get(family, {"rows": []})["rows"]
    kept = {row["fault"]: row for row in [*before, *({"at": here(), **row} for row in rows)]}
    path = results / f"{family}.json"
    write_file(path, json.dumps({"format": FORMAT, "rows": list(kept.values())}, indent=1) + "\n")
    return path


def here() -> dict[str, Any]:
    """Where and when something is measured; result files that are written change the tree that it tells of."""
    return {"measured": datetime.now(UTC).date().isoformat(), **software(), **machine()}


def stored(results: Path = RESULTS) -> dict[str, dict[str, Any]]:
    """All result files by family."""
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(results.glob("*.json"))}
