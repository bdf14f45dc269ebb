"""The stored results of the performance suite (benchmarks room): a JSON file per kind of device, from one run each."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from fl_bench.errors import DataError

RESULTS = Path(__file__).with_name("results")
"""Where result files are."""

FORMAT = 1
"""Version of the files."""


def keep(measured: Path, results: Path = RESULTS) -> Path:
    """Make a result file of what pytest-benchmark wrote; it replaces the file of the same kind of device.

    Args:
        measured: the file of `--benchmark-json`.
        results: where result files are.
    Raises:
        DataError: nothing was measured.
    """
    run = json.loads(measured.read_text())
    rows = [row for benchmark in run["benchmarks"] for row in benchmark["extra_info"].get("rows", [])]
    if not rows:
        raise DataError(f"{measured} holds no measurement of the performance suite; `make bench` makes such a file")
    machine = run["machine_info"]
    content = {"format": FORMAT, "measured": run["datetime"][:10], "machine": machine, "rows": rounded(rows)}
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
