"""The stored results of the performance suite (benchmarks room): a JSON file per kind of device, from one run each."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fl_bench.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence

RESULTS = Path(__file__).with_name("results")
"""Where result files are."""

FORMAT = 1
"""Version of the files."""


def keep(measured: Sequence[Path], results: Path = RESULTS) -> Path:
    """Make a result file of what pytest-benchmark wrote; it replaces the file of the same kind of device.

    Args:
        measured: files of `--benchmark-json`, at least one; several are parts of one measurement (`-k` chooses parts).
        results: where result files are.
    Raises:
        DataError: nothing was measured, or the parts are of different machines, versions or sizes.
    """
    runs = [json.loads(path.read_text()) for path in measured]
    rows = [row for run in runs for benchmark in run["benchmarks"] for row in benchmark["extra_info"].get("rows", [])]
    if not rows:
        names = ", ".join(map(str, measured))
        raise DataError(f"{names}: no measurement of the performance suite; `make bench` makes such a file")
    machines = [{**run["machine_info"], "load": None} for run in runs]
    for path, other in zip(measured, machines, strict=True):
        differing = [key for key in machines[0] if other.get(key) != machines[0][key]]
        if differing:
            raise DataError(f"{path} and {measured[0]} are no parts of one measurement: {', '.join(differing)} differs")
    machine = {**machines[0], "load": max(run["machine_info"]["load"] for run in runs)}
    content = {"format": FORMAT, "measured": runs[-1]["datetime"][:10], "machine": machine, "rows": rounded(rows)}
    path = results / f"{device_kind(machine['gpu'])}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content, indent=1) + "\n")
    return path


def device_kind(gpu: str | None) -> str:
    """The name of a result file: `cpu`, or the card's name in small letters and hyphens."""
    return "cpu" if gpu is None else re.sub(r"[^a-z0-9]+", "-", gpu.lower()).strip("-")


def stored(results: Path = RESULTS) -> dict[str, dict[str, Any]]:
    """All result files by kind of device, the CPU first."""
    files = sorted(results.glob("*.json"), key=lambda path: (path.stem != "cpu", path.stem))
    return {path.stem: json.loads(path.read_text()) for path in files}


def rounded(value: Any) -> Any:
    """Plain values with fractions to six significant digits: more are noise, and make files and differences long."""
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, dict):
        return {key: rounded(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(part) for part in value]
    return value
