"""What of the repository runs on a card (benchmarks room): its tests that are skipped without one, and every method."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from fl_bench.errors import Unsupported

from ....federation.run import Run
from ....federation.settings import ModelMix, Training
from ....methods.base import unsupported
from ....methods.registry import METHODS
from ...grid.cell import resolve_config
from .workloads import W6, tiny

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..measure import Row

ROOT = Path(__file__).resolve().parents[3]
"""The checkout."""

TESTS = "tests/federation/test_gpu.py"
"""Tests that are skipped without a GPU."""

MIXES = (ModelMix(("resnet8-bn",)), ModelMix(("squeezenet", "cnn-small"), width=64))
"""Nets that every method runs with: BatchNorm; dropout in a mix, with features of one width."""

TINY_MIXES = (ModelMix(("mlp-64", "mlp-32"), width=16),)
"""The same where everything is tiny."""

ROUNDS = 2
"""Rounds of every method: most clients receive something from the second on."""


def run_tests() -> Row:
    """Run the tests that need a GPU, in a process of their own.

    Returns:
        How many tests `passed`, `failed` and were `skipped`, and the names and first lines of those that failed.
    """
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-q", "-n", "0", TESTS, f"--junitxml={report}"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        if not report.exists():
            raise RuntimeError(f"pytest wrote no report: {done.stdout[-500:]} {done.stderr[-500:]}")
        cases = list(ElementTree.parse(report).iter("testcase"))
    outcomes: Counter[str] = Counter(passed=0, failed=0, skipped=0)
    failures = []
    for case in cases:
        bad = next((part for part in case if part.tag in ("failure", "error")), None)
        outcomes["failed" if bad is not None else "skipped" if case.find("skipped") is not None else "passed"] += 1
        if bad is not None:
            failures.append(f"{case.get('name')}: {(bad.get('message') or '').partition(chr(10))[0][:200]}")
    return {**outcomes, "failures": failures}


def run_methods(device: str, *, small: bool) -> list[Row]:
    """Two rounds of every registered method with each mix of nets, on random pictures of CIFAR's shape.

    Args:
        device: a torch device.
        small: whether nets are those of `TINY_MIXES`.
    Returns:
        Rows with `method`, `nets`, `seconds`, and why a method cannot run with them (`refused`) or what went wrong
        (`error`), which are None otherwise.
    """
    workload = replace(tiny(W6), clients=4, samples=20, public=20, test=40, server=None)
    dealt = workload.deal()
    training = Training(rounds=ROUNDS, batch_size=workload.batch_size, optimizer="sgd", lr=0.01)
    rows: list[Row] = []
    for name in METHODS.names():
        for models in TINY_MIXES if small else MIXES:
            method = METHODS[name](resolve_config(name, {}, "settings"))
            reason = unsupported(method, models=models, training=training, public=workload.share, grouped=False)
            row: Row = {
                "method": name,
                "nets": "+".join(models.names),
                "seconds": None,
                "refused": reason,
                "error": None,
            }
            if reason is None:
                row |= _finish(
                    partial(Run, method, dealt.dataset, dealt.split, models, training, seed=0, device=device)
                )
            rows.append(row)
    return rows


def _finish(start: Callable[[], Run]) -> Row:
    """Seconds of a run, or why there are none."""
    began = time.perf_counter()
    try:
        for _ in start().rounds():
            pass
    except Unsupported as refusal:  # known when the nets are built
        return {"refused": str(refusal)}
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"[:300]}
    return {"seconds": time.perf_counter() - began}
