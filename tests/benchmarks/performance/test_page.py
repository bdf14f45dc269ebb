"""docs/performance.md: what the stored results give and nothing else."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from fl_bench.benchmarks.performance.page import DOCS, page, summary, write
from fl_bench.benchmarks.performance.store import device_kind, keep, stored
from fl_bench.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

MACHINE = {
    "revision": "0123456789abcdef",
    "dirty": False,
    "size": "full",
    "load": 0.5,
    "cpu": "a processor",
    "cores": 2,
    "memory_gib": 8.0,
    "system": "Linux 6",
    "python": "3.12.0",
    "packages": {"torch": "2.11", "numpy": "2"},
    "gpu": None,
}


def measured(folder: Path, rows: list[dict[str, Any]], gpu: str | None = None) -> Path:
    """A file as pytest-benchmark writes it."""
    path = folder / "measured.json"
    run = {"datetime": "2026-01-02T03:04:05+00:00", "machine_info": {**MACHINE, "gpu": gpu}}
    path.write_text(json.dumps({**run, "benchmarks": [{"extra_info": {"rows": rows}}, {"extra_info": {}}]}))
    return path


def row(contender: str, seconds: list[float]) -> dict[str, Any]:
    return {
        "table": "rounds",
        "workload": "W9",
        "clients": 7,
        "contender": contender,
        "views": "deployed",
        "seconds": seconds,
        "images": 1200,
        "steps": 3,
        "flops": 4e9,
        "peak_bytes": 2**20,
        "ratio": 2.0 / seconds[0],
        "lowest": 1.5,
        "highest": 2.5,
    }


def test_committed_page_is_what_the_results_give(tmp_path: Path) -> None:
    for path in write(docs=tmp_path):
        assert path.read_text() == (DOCS / path.name).read_text(), f"run `make page`: docs/{path.name} is out of date"


def test_a_gpu_is_not_measured_until_it_is(tmp_path: Path) -> None:
    keep([measured(tmp_path, [row("plain", [2.0]), row("fl-bench", [1.0])])], tmp_path)
    (tmp_path / "measured.json").unlink()
    text = page(stored(tmp_path))
    assert "## On a GPU\n\nnot measured\n" in text
    assert "## On a GPU: prepared, not measured\n" in text
    assert "**All\ntimes below are predictions.**" in text
    # 4 GFLOP in a second is nothing to compare with: no rate was measured, so no share is claimed.
    assert "| W9 | 7 | fl-bench | 1 s | 1 – 1 | **2.00** | 1.50 – 2.50 | 1,200 |  |" in text
    rate = {"table": "rate", "threads": None, "flops": 4e12}
    keep([measured(tmp_path, [row("plain", [2.0]), rate], "NVIDIA X1")], tmp_path)
    (tmp_path / "measured.json").unlink()
    both = page(stored(tmp_path))
    assert "### NVIDIA X1\n" in both
    assert "4.0 TFLOP/s" in both
    assert text.split("## On a GPU")[0] == both.split("## On a GPU")[0]  # the other device's results stay


def test_the_summary_stands_on_top_and_has_every_contender_and_the_floor(tmp_path: Path) -> None:
    rate = {"table": "rate", "threads": 2, "flops": 8e9}
    results = tmp_path / "results"
    results.mkdir()
    keep([measured(tmp_path, [row("plain", [2.0]), row("fl-bench", [1.25]), rate])], results)
    runs = stored(results)
    assert "performance-summary.svg" in page(runs).partition("## ")[0]
    bars = summary(runs["cpu"])
    assert all(f">{text}<" in bars for text in ("plain", "fl-bench", "floor", "2", "1.25", "0.5", "W9"))  # 4 / 8 GFLOP
    assert summary(runs["cpu"]) == bars


@pytest.mark.parametrize("images", [1, 2000])
def test_growth_is_read_off_the_ends(tmp_path: Path, images: int) -> None:
    # Ten times the clients, 100 times the seconds: exponent 2; the server's grow tenfold. A client has 100 numbers
    # (400 bytes), three copies of them, and `images` images of 784 pixels: a byte each as stored, and four more each as
    # nets see them unless that is more than 1 GiB, as it is for 600 000 images and not for 60 000.
    def point(clients: int, seconds: float, server: float) -> dict[str, Any]:
        rows = clients * images
        seen = 784 * 4 * rows
        peak = 1000 + 784 * rows + (0 if seen > 2**30 else seen) + clients * 3 * 400
        memory = {"base_bytes": 50, "peak_bytes": peak, "parameters": 100, "rows": rows}
        what = {"table": "scaling", "series": "S", "grows": "clients", "at": clients, "clients": clients, "images": 9}
        return {**what, "seconds": [seconds], "seconds_server": [server], **memory}

    keep([measured(tmp_path, [point(10, 1.0, 1.0), point(30, 2.0, 0.1), point(300, 200.0, 1.0)])], tmp_path)
    (tmp_path / "measured.json").unlink()
    assert "| S | 30 → 300 clients | 2.00 | 1.00 | 3.0 |" in page(stored(tmp_path))


def test_a_run_replaces_the_results_of_its_device(tmp_path: Path) -> None:
    results = tmp_path / "results"
    results.mkdir()
    for seconds in (1.0, 3.0):
        keep([measured(tmp_path, [row("plain", [seconds])])], results)
    assert [path.name for path in results.iterdir()] == ["cpu.json"]
    assert stored(results)["cpu"]["rows"][0]["seconds"] == [3.0]


def test_parts_of_one_measurement_are_one_file(tmp_path: Path) -> None:
    parts = [tmp_path / "one.json", tmp_path / "two.json"]
    for path, seconds, load in zip(parts, (1.0, 3.0), (0.5, 0.25), strict=True):
        part = json.loads(measured(tmp_path, [row("plain", [seconds])]).read_text())
        path.write_text(json.dumps({**part, "machine_info": {**part["machine_info"], "load": load}}))
    (tmp_path / "results").mkdir()
    found = json.loads(keep(parts, tmp_path / "results").read_text())
    assert [each["seconds"] for each in found["rows"]] == [[1.0], [3.0]]
    assert found["machine"]["load"] == 0.5
    other = json.loads(parts[1].read_text())
    parts[1].write_text(json.dumps({**other, "machine_info": {**MACHINE, "revision": "fedcba"}}))
    with pytest.raises(DataError, match=r"two\.json and .*one\.json are no parts of one measurement: revision differs"):
        keep(parts, tmp_path)


def test_nothing_measured_is_nothing_stored(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no measurement"):
        keep([measured(tmp_path, [])], tmp_path)


@pytest.mark.parametrize(
    ("gpu", "kind"), [(None, "cpu"), ("NVIDIA H100 80GB HBM3", "nvidia-h100-80gb-hbm3"), ("Radeon (TM)", "radeon-tm")]
)
def test_device_kinds(gpu: str | None, kind: str) -> None:
    assert device_kind(gpu) == kind


def test_careful_has_columns_where_it_took_part(tmp_path: Path) -> None:
    against = {"ratio": 0.75, "lowest": 0.5, "highest": 0.875}
    rows = [{**row(name, [seconds]), "careful": against} for name, seconds in (("careful", 0.5), ("fl-bench", 1.0))]
    grid = {
        "table": "grids",
        "workload": "W9",
        "seeds": 4,
        "rounds": 2,
        "plain": [8.0],
        "careful": [3.0],
        "fl-bench": [4.0],
        "against careful": against,
        "flops": 1e9,
        "busy": [None],
        "workers": 2,
        **{"ratio": 2.0, "lowest": 1.5, "highest": 2.5},
    }
    keep([measured(tmp_path, [*rows, grid])], tmp_path)
    (tmp_path / "measured.json").unlink()
    text = page(stored(tmp_path))
    assert "| × plain | pairs | × careful | pairs | images/s |" in text
    assert "| careful | 0.5 s | 0.5 – 0.5 | **4.00** | 1.50 – 2.50 |  |  | 2,400 |" in text
    assert "| fl-bench | 1 s | 1 – 1 | **2.00** | 1.50 – 2.50 | **0.75** | 0.50 – 0.88 | 1,200 |" in text
    assert "| 8 s | 4 s | **2.00** | 1.50 – 2.50 | 3 s | **0.75** | 0.50 – 0.88 | 1 |" in text
