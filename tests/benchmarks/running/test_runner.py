"""A cell runs, ends in a record whatever happens, and continues from its checkpoint with the same bytes."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import zipfile
from typing import TYPE_CHECKING, Any

import pytest

from fl_bench.benchmarks.grid.grid import Overrides, expand, find_grid, read_grid
from fl_bench.benchmarks.records import lease
from fl_bench.benchmarks.records.lease import Held, Lost
from fl_bench.benchmarks.records.reading import read_record, without_clocks
from fl_bench.benchmarks.records.record import RecordError
from fl_bench.benchmarks.records.store import Store
from fl_bench.benchmarks.running.runner import Options, run_cell
from fl_bench.methods.local import Local
from fl_bench.streams import FACTORS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from fl_bench.benchmarks.grid.cell import Cell
    from fl_bench.benchmarks.grid.grid import Grid

    MakeCell = Callable[..., Cell]


def test_a_record_says_what_was_run(store: Store, cell_of: MakeCell) -> None:
    cell = cell_of("fedmd")
    rounds = []
    ending = run_cell(cell, store, Options(), lambda row, _: rounds.append(row.values["round"]))
    assert (ending.status, ending.reason, rounds) == ("done", None, [0, 1])
    record = read_record(ending.folder)
    assert record.cell == cell.as_dict()
    assert record.facts["pairing"].keys() == {"partition", "initial_weights", "client_draws", "public_order"}
    assert record.run["provenance"]["torch_threads"] == 1
    assert {"fl_bench", "python", "packages", "cpu", "cores", "memory_gib", "system", "device"} <= set(
        record.run["provenance"]
    )
    assert [row["round"] for row in record.rounds] == [0, 1]
    assert len(record.clients) == 2 * 5
    assert record.seconds > 0
    assert sorted(path.name for path in store.runs.rglob("*")) == sorted(
        ["digits", ending.folder.name, "run.json", "rounds.csv", "clients.csv"]
    )


def test_training_of_its_own_trains_as_if_all_did(store: Store, small_grid: Callable[..., Grid]) -> None:
    own = {"lr": 0.02, "local_epochs": 2}
    (one,) = small_grid(methods=({"fedavg": {"training": own}},)).cells
    (all_,) = small_grid(methods=("fedavg",), training={"rounds": 2, **own}).cells
    records = [read_record(run_cell(cell, store, Options()).folder) for cell in (one, all_)]
    (first, second) = records
    assert first.run["key"] != second.run["key"]
    accuracies = [
        [(row["global.acc_mean"], row["global.loss_mean"], row["steps_local"]) for row in record.rounds]
        for record in records
    ]
    assert accuracies[0] == accuracies[1]
    assert first.facts["pairing"] == second.facts["pairing"]


LOADED = """\
import sys
from pathlib import Path
from fl_bench.benchmarks.grid.grid import Overrides, expand, find_grid, read_grid
from fl_bench.benchmarks.records.store import Store
from fl_bench.benchmarks.running.runner import Options, run_cell

overrides = Overrides(methods="fedmd,pfedhn", datasets="digits", seeds="0", rounds=1)
for cell in expand(read_grid(find_grid("quick")), "quick", overrides).cells:
    before = set()
    run_cell(cell, Store(Path(sys.argv[1])), Options(), started=lambda: before.update(sys.modules))
    large = {"torch._dynamo", "scipy", "sklearn", "pandas"}
    print(cell.method, "torch._dynamo" in before, large & (sys.modules.keys() - before))
"""


@pytest.mark.slow
def test_a_cell_starts_when_libraries_and_data_are_loaded(tmp_path: Path) -> None:
    """A time limit counts from there, so that the first cell of a process has as much time as later ones.

    Torch's compiler takes as long as torch, and is loaded only where a method builds optimizers of torch.
    """
    command = [sys.executable, "-c", LOADED, str(tmp_path)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert said == "fedmd False set()\npfedhn True set()\nlocal True set()\n"


def test_every_part_of_the_randomness_moves_what_is_its_own(store: Store, small_grid: Callable[..., Grid]) -> None:
    """What a record says of the pairing, and the numbers: those move whatever moves."""
    grid = small_grid(
        methods=("fedmd",), vary=dict.fromkeys(FACTORS, "1"), training={"rounds": 2, "participation": 0.4}
    )
    plain, *varied = [read_record(run_cell(cell, store, Options()).folder) for cell in grid.cells]
    moves = {
        "partition": {"partition", "public_order"},
        "init": {"initial_weights"},
        "draws": {"client_draws"},
        "batches": set(),
    }
    for factor, record in zip(FACTORS, varied, strict=True):
        assert (record.cell["seed"], record.cell["varied"]) == (0, {factor: 1})
        pairing, before = record.facts["pairing"], plain.facts["pairing"]
        assert {what for what in before if pairing[what] != before[what]} == moves[factor], factor
        assert [row["client.loss_mean"] for row in record.rounds] != [row["client.loss_mean"] for row in plain.rounds]


@pytest.mark.parametrize("method", ["fedmd", "cosmos"])
def test_a_run_that_is_stopped_ends_with_the_same_record(tmp_path: Path, cell_of: MakeCell, method: str) -> None:
    cell = cell_of(method, training={"rounds": 3})
    whole = run_cell(cell, Store(tmp_path / "whole"), Options())
    stopped = Store(tmp_path / "stopped")
    for after in (0, 1, 2):

        def stop(row: Any, _: Any, after: int = after) -> None:
            if row.values["round"] == after:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            run_cell(cell, stopped, Options(), stop)
        assert stopped.find(cell) is None
        assert stopped.has_checkpoint(cell)
    ending = run_cell(cell, stopped, Options())
    assert without_clocks(ending.folder) == without_clocks(whole.folder)
    assert not stopped.has_checkpoint(cell)


def test_a_cell_that_is_done_is_left_alone(store: Store, cell_of: MakeCell) -> None:
    cell = cell_of()
    first = run_cell(cell, store, Options())
    before = (first.folder / "run.json").stat().st_mtime_ns
    assert run_cell(cell, store, Options(retry=True)) == first
    assert (first.folder / "run.json").stat().st_mtime_ns == before


def test_a_cell_that_is_locked_is_left_to_others(store: Store, cell_of: MakeCell) -> None:
    cell = cell_of()
    with store.claim(cell), pytest.raises(Held):
        run_cell(cell, store, Options())
    assert store.find(cell) is None


@pytest.mark.parametrize("other", ["fedmd", "fedmd[label=another;digest_epochs=1]"])
def test_a_process_whose_clock_is_five_minutes_slow_costs_time_and_no_record(
    tmp_path: Path, store: Store, cell_of: MakeCell, other: str
) -> None:
    cell, same = (cell_of(method, training={"rounds": 4}) for method in ("fedmd", other))
    assert cell.key == same.key
    endings = []
    rounds = []

    def report(row: Any, _: Any) -> None:
        if row.values["round"] == 1:
            (claim,) = store.runs.rglob("*.claim")
            slow = claim.stat().st_mtime - 300  # as a renewal with that clock leaves it
            os.utime(claim, (slow, slow))
            endings.append(run_cell(same, store, Options(), lambda row, _: rounds.append(row.values["round"])))

    with pytest.raises(Lost, match="longer than its lease of 120 s"):
        run_cell(cell, store, Options(), report)
    (ending,) = endings
    assert rounds == [0, 1, 2, 3]
    whole = run_cell(same, Store(tmp_path / "whole"), Options())
    assert without_clocks(ending.folder) == without_clocks(whole.folder)
    assert list((store.runs / "digits").iterdir()) == [ending.folder]


STOPPED = """\
import sys
from pathlib import Path
from fl_bench.benchmarks.grid.grid import Overrides, expand, find_grid, read_grid
from fl_bench.benchmarks.records.lease import Lost
from fl_bench.benchmarks.records.store import Store
from fl_bench.benchmarks.running.runner import Options, run_cell

def report(row, facts):
    if row.values["round"] == 1:
        print("round 1 is done", flush=True)
        sys.stdin.readline()

overrides = Overrides(methods="local", datasets="digits", seeds="0", rounds=3)
(cell,) = expand(read_grid(find_grid("quick")), "quick", overrides).cells
try:
    print(run_cell(cell, Store(Path(sys.argv[1])), Options(), report))
except Lost as error:
    print("Lost:", error)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="nothing stops a process there")
def test_a_process_that_was_stopped_beyond_its_lease_gives_way(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    overrides = Overrides(methods="local", datasets="digits", seeds="0", rounds=3)
    (cell,) = expand(read_grid(find_grid("quick")), "quick", overrides).cells
    command = [sys.executable, "-c", STOPPED, str(store.results)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "round 1 is done\n"
        process.send_signal(signal.SIGSTOP)
        with pytest.raises(Held, match=f"process {process.pid} on"):
            run_cell(cell, store, Options())
        monkeypatch.setattr(lease, "LEASE", 0.0)  # it is over
        ending = run_cell(cell, store, Options())
        written = (ending.folder / "run.json").stat().st_mtime_ns
        process.send_signal(signal.SIGCONT)
        said, _ = process.communicate("go on\n")
    finally:
        process.kill()
        process.communicate()
    assert said.startswith("Lost: this process was stopped, or cut off from the disk, for longer than its lease")
    assert (ending.folder / "run.json").stat().st_mtime_ns == written
    assert list((store.runs / "digits").iterdir()) == [ending.folder]
    assert [row["round"] for row in read_record(ending.folder).rounds] == [0, 1, 2]


def test_what_cannot_run_is_recorded_with_the_reason(store: Store, cell_of: MakeCell) -> None:
    ending = run_cell(cell_of("fedmd", partition={"clients": 5, "public": 0}), store, Options())
    assert (ending.status, ending.reason) == ("unsupported", "needs public data, but partition.public is 0")


def test_divergence_is_recorded_as_such(store: Store, cell_of: MakeCell) -> None:
    training = {"rounds": 2, "optimizer": "sgd", "lr": 1e12, "local_epochs": 5}
    ending = run_cell(cell_of(training=training), store, Options())
    assert ending.status == "diverged"
    assert ending.reason is not None
    assert ending.reason.startswith("round 0: ")
    assert read_record(ending.folder).rounds == []


def test_a_method_that_fails_is_recorded_with_its_traceback_and_runs_again_on_retry(
    store: Store, cell_of: MakeCell, monkeypatch: pytest.MonkeyPatch
) -> None:
    def client_update(*_: Any) -> None:
        raise RuntimeError("by design")

    cell = cell_of()
    with monkeypatch.context() as patch:
        patch.setattr(Local, "client_update", client_update)
        ending = run_cell(cell, store, Options())
    assert (ending.status, ending.reason) == ("failed", "RuntimeError: by design")
    assert "client_update" in read_record(ending.folder).run["traceback"]
    found = run_cell(cell, store, Options())
    assert (found, found.elsewhere, ending.elsewhere) == (ending, True, False)
    assert run_cell(cell, store, Options(retry=True)).status == "done"


@pytest.mark.parametrize("file", ["pt", "rounds"])
def test_a_disk_that_fills_up_is_no_failure_of_the_method_and_costs_a_round(
    tmp_path: Path, store: Store, cell_of: MakeCell, monkeypatch: pytest.MonkeyPatch, file: str
) -> None:
    import torch

    def full(*_: Any) -> None:
        try:
            raise OSError(errno.ENOSPC, "No space left on device")
        finally:
            if file == "pt":
                raise RuntimeError("unexpected pos 896 vs 790")  # as torch says it

    cell = cell_of(training={"rounds": 3})
    seen: list[Any] = []
    with monkeypatch.context() as patch:

        def fill(row: Any, _: Any) -> None:
            seen.append(row.values["seconds_training"])
            patch.setattr(*((torch, "save") if file == "pt" else (os, "fsync")), full)

        with pytest.raises(RecordError, match=rf"cannot write .*\.{file}: No space left on device"):
            run_cell(cell, store, Options(), fill)
    assert store.find(cell) is None
    assert store.has_checkpoint(cell)
    ending = run_cell(cell, store, Options())
    assert without_clocks(ending.folder) == without_clocks(run_cell(cell, Store(tmp_path / "whole"), Options()).folder)
    assert [row["seconds_training"] for row in read_record(ending.folder).rounds[:1]] == seen


@pytest.mark.parametrize("good", [0, 1])  # the claim looks at it first, then the run
def test_a_checkpoint_that_the_disk_does_not_give_is_no_failure_of_the_method(
    store: Store, cell_of: MakeCell, monkeypatch: pytest.MonkeyPatch, good: int
) -> None:
    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    cell, opened, real = cell_of(training={"rounds": 3}), [], zipfile.ZipFile
    with pytest.raises(KeyboardInterrupt):
        run_cell(cell, store, Options(), stop)
    with monkeypatch.context() as patch:

        def fails(*given: Any, **named: Any) -> Any:
            opened.append(given)
            if len(opened) > good:
                raise OSError(errno.EIO, "Input/output error")
            return real(*given, **named)

        patch.setattr(zipfile, "ZipFile", fails)
        with pytest.raises(RecordError, match="Input/output error"):
            run_cell(cell, store, Options())
    assert store.find(cell) is None
    assert store.has_checkpoint(cell)
    assert run_cell(cell, store, Options()).status == "done"


@pytest.mark.parametrize("number", [errno.EACCES, errno.ENOSPC, errno.EROFS])
def test_a_system_error_of_the_method_is_its_failure(
    store: Store, cell_of: MakeCell, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def client_update(*_: Any) -> None:
        raise OSError(number, "by design", "/somewhere/else")

    monkeypatch.setattr(Local, "client_update", client_update)
    ending = run_cell(cell_of(), store, Options())
    assert ending.status == "failed"
    assert ending.reason is not None
    assert ending.reason.endswith(f"[Errno {number}] by design: '/somewhere/else'")


def test_a_folder_that_takes_no_lock_is_no_failure_of_the_method(store: Store, cell_of: MakeCell) -> None:
    store.results.mkdir()
    store.runs.write_text("a file where a folder should be")
    with pytest.raises(RecordError, match="Not a directory"):
        run_cell(cell_of(), store, Options())


def test_a_checkpoint_that_a_kill_left_beside_a_record_goes_away(
    store: Store, cell_of: MakeCell, leave_checkpoint: Callable[..., Path]
) -> None:
    cell = cell_of()
    run_cell(cell, store, Options())
    leave_checkpoint(store, cell)  # killed between the record and the clean-up
    assert run_cell(cell, store, Options()).status == "done"
    assert not store.has_checkpoint(cell)


def test_a_run_continues_under_another_label(store: Store, cell_of: MakeCell) -> None:
    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    first, second = (cell_of(f"fedmd[label={label};digest_epochs=2]") for label in ("before", "after"))
    with pytest.raises(KeyboardInterrupt):
        run_cell(first, store, Options(), stop)
    assert store.has_checkpoint(second)
    assert run_cell(second, store, Options()).status == "done"
    assert sorted(path.name for path in (store.runs / "digits").iterdir()) == [second.folder.rpartition("/")[2]]
