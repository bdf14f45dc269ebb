"""How commands end where nobody listens any more, and where somebody is in a hurry."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fl_bench.benchmarks.commands import supervision

COMMAND = [sys.executable, "-m", "fl_bench.benchmarks"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
def test_standard_output_on_a_full_disk_is_told() -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run([*COMMAND, "list", "grids"], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == "error: cannot write to standard output: No space left on device\n"


def test_a_reader_that_goes_away_is_no_error() -> None:
    with subprocess.Popen([*COMMAND, "list", "grids"], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()  # as `head` does, sooner
        assert process.stderr.read() == b""
    assert process.returncode == 1


def test_a_second_interrupt_does_not_keep_workers_from_being_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = [signal.getsignal(number) for number in supervision.STOPS]
    steps: list[str] = []

    class Schedule:
        cells: tuple[()] = ()
        left = None

        def take(self, event: Any) -> None:
            """Nothing happens."""

    def running() -> Any:
        try:
            signal.raise_signal(signal.SIGINT)
            yield
        finally:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGTERM)
            steps.append("workers are gone")

    heard = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        code, _ = supervision.run_all(Schedule(), running(), tmp_path)  # type: ignore[arg-type]  # all that is asked of it
    finally:
        signal.signal(signal.SIGINT, heard)
    assert (code, steps) == (130, ["workers are gone"])
    assert [signal.getsignal(number) for number in supervision.STOPS] == before


@pytest.mark.slow
@pytest.mark.parametrize("timeout", ["inf", "1e8"])
def test_a_time_limit_may_be_any_number_above_zero(tmp_path: Path, timeout: str) -> None:
    command = [*COMMAND, "run", "--methods", "local", "--seeds", "0", "--rounds", "1", "--jobs", "1"]
    done = subprocess.run(
        [*command, "--timeout", timeout], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
