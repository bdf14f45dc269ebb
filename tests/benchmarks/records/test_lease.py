"""Who runs a cell: one process at a time, taken over when it is gone, and never written over when it comes back."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from fl_bench.benchmarks.records import lease
from fl_bench.benchmarks.records.lease import EMPTY, LEASE, Claim, Held, Lost, claiming, holder
from fl_bench.benchmarks.records.processes import this_process
from fl_bench.benchmarks.records.record import RecordError

if TYPE_CHECKING:
    from collections.abc import Callable

PATIENCE = 300.0
"""Seconds that a test waits for what must happen."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "results" / ".0-key.part"


def left(folder: Path, content: str | dict[str, Any], *, age: float = 0.0, number: int = 1) -> Path:
    """A claim that some process made, and renewed so many seconds ago by the file system's clock."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{number}.claim"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    then = path.stat().st_mtime - age
    os.utime(path, (then, then))
    return path


def by(**changes: Any) -> dict[str, Any]:
    """What a claim says that this process made, but for changes."""
    return {"token": "t", **this_process(), "since": "2026-01-01 00:00:00 UTC", **changes}


ELSEWHERE = {"host": "another", "table": "another boot pid:[4026531836]"}


def test_a_claim_keeps_others_out_and_leaves_nothing(folder: Path) -> None:
    assert holder(folder) is None
    with claiming(folder):
        said = f"process {os.getpid()} on .* since .* UTC; its lease ends at .* UTC unless it is renewed"
        with pytest.raises(Held, match=said), claiming(folder):
            pass
        with claiming(folder.with_name("another.part")):
            pass
        assert holder(folder) is not None
    assert holder(folder) is None
    assert list(folder.parent.iterdir()) == []


@pytest.mark.parametrize("stale", [1, 2])
def test_a_stale_handle_is_looked_at_again_before_anyone_counts_as_gone(
    folder: Path, stale: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A client of NFS whose handle is stale has only to open the file again; the claim may be there as it was.
    opened, tries = type(folder).open, iter(range(stale))

    def fails(path: Path, *args: Any, **rest: Any) -> Any:
        if path.suffix == ".claim" and next(tries, None) is not None:
            raise OSError(errno.ESTALE, "Stale file handle")
        return opened(path, *args, **rest)

    with claiming(folder) as claim:
        with monkeypatch.context() as patch:
            patch.setattr(type(folder), "open", fails)
            if stale == 1:
                claim.check()
            else:
                with pytest.raises(RecordError, match="Stale file handle"):
                    claim.check()
        claim.check()


def test_a_process_that_is_about_to_end_lets_go_of_all_that_it_holds(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    with lease.claiming(folder) as claim, lease.claiming(other):
        claim.checkpoint.write_bytes(b"kept")
        lease.release_all()
        assert (lease.holder(folder), lease.holder(other)) == (None, None)
        assert claim.checkpoint.exists()
        with lease.claiming(other):
            pass
    lease.release_all()  # nothing is held any more


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere only its number tells a process")
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_the_claim_of_a_process_is_taken_over_at_once_when_it_is_gone_and_only_then(
    folder: Path, how: signal.Signals
) -> None:
    script = (
        "import sys, time\nfrom pathlib import Path\nfrom fl_bench.benchmarks.records.lease import claiming\n"
        "with claiming(Path(sys.argv[1])):\n    print('held', flush=True)\n    time.sleep(600)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", script, str(folder)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        process.send_signal(how)
        if how == signal.SIGSTOP:
            with pytest.raises(Held, match=f"process {process.pid} on"), claiming(folder):
                pass
            return
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # dead, and still in the table: a zombie
        with claiming(folder):
            pass
        process.wait()
        left(folder, by(pid=process.pid, born="1"))
        with claiming(folder):
            pass
    finally:
        process.kill()
        process.communicate()


def test_a_process_number_that_was_given_away_again_holds_nothing(folder: Path) -> None:
    if this_process()["born"] is None:
        pytest.skip("the system does not say when a process started")
    left(folder, by(born="1"))
    with claiming(folder):
        pass


@pytest.mark.parametrize(
    "content",
    [
        by(**ELSEWHERE),
        by(table="the same host name, another process table", pid=2**31 - 1),
        by(table=None, pid=2**31 - 1),
        "[]",
        "null",
        "[" * 10_000,
        '{"token": "t", "pid": 1',
        by(pid=-1),
        by(pid="1"),
        by(pid=2**40),
        by(token=None),
    ],
    ids=map(str, range(11)),  # the contents name this process, which each worker of the tests is not
)
def test_a_claim_of_another_machine_or_none_that_can_be_read_holds_for_the_lease(
    folder: Path, content: str | dict[str, Any]
) -> None:
    path = left(folder, content, age=LEASE - 20)
    before = path.read_text()
    with pytest.raises(Held, match="its lease ends at"), claiming(folder):
        pass
    assert [path.read_text() for path in folder.iterdir()] == [before]
    left(folder, content, age=LEASE + 1)
    with claiming(folder) as claim:
        assert (claim.number, [path.name for path in folder.iterdir()]) == (2, ["2.claim"])


def test_an_empty_claim_holds_nobody_up_for_long(folder: Path) -> None:
    # A kill between making the file and writing to it leaves one.
    left(folder, "")
    with pytest.raises(Held, match="has not said its name has it; its lease ends at"), claiming(folder):
        pass
    left(folder, "", age=EMPTY + 1)
    with claiming(folder) as claim:
        assert (claim.number, [path.name for path in folder.iterdir()]) == (2, ["2.claim"])


@pytest.mark.parametrize("ahead", [-300.0, 300.0])
def test_a_clock_that_is_five_minutes_off_costs_time(folder: Path, ahead: float) -> None:
    # The holder's renewals carry the time of its own clock, as on a file system that takes it from clients.
    left(folder, by(**ELSEWHERE), age=-ahead)
    if ahead < 0:
        with claiming(folder):
            pass
        return
    found = holder(folder)
    assert found is not None
    assert found.age == pytest.approx(-300, abs=30)
    left(folder, by(**ELSEWHERE), age=LEASE + 1)
    with claiming(folder):
        pass


def test_a_claim_is_renewed_while_it_is_held(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "HEARTBEAT", 0.01)
    with claiming(folder) as claim:
        os.utime(claim.path, (0, 0))
        wait_for(lambda: time.time() - claim.path.stat().st_mtime < 3600)
        with pytest.raises(Held), claiming(folder):
            pass
        left(folder, by(**ELSEWHERE), age=60)  # another's claim of the same number
        wait_for(lambda: not any("lease of" in thread.name for thread in threading.enumerate()))
        assert time.time() - claim.path.stat().st_mtime > 50
    assert claim.path.exists()


def test_a_renewal_that_hangs_keeps_nobody(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hangs, goes_on = threading.Event(), threading.Event()

    def hang(*_: Any) -> None:
        hangs.set()
        assert goes_on.wait(PATIENCE)

    monkeypatch.setattr(lease, "HEARTBEAT", 0.01)
    monkeypatch.setattr(os, "utime", hang)
    with claiming(folder) as claim:
        assert hangs.wait(PATIENCE)
        claim.check()
    assert not goes_on.is_set()
    assert holder(folder) is None
    goes_on.set()


def wait_for(what: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_holder_that_lost_its_cell_is_told_by_whom_and_leaves_it_alone(folder: Path) -> None:
    with claiming(folder) as first:
        first.check()
        os.utime(first.path, (0, 0))
        with claiming(folder) as second:
            assert second.number > first.number
            with pytest.raises(Lost, match=f"longer than its lease of 120 s; now process {os.getpid()} on"):
                first.check()
            first.release()
            first.clear()
            second.check()
        with pytest.raises(Lost, match="another has taken the cell over meanwhile, and left it"):
            first.check()
        with claiming(folder) as third:
            assert third.number == first.number  # nothing was left to count from
            third.checkpoint.write_text("after a round")
            first.checkpoint.write_text("written late")
            with pytest.raises(Lost):
                first.check()
            assert not first.renew()
            first.release()
            third.check()
            assert set(folder.iterdir()) == {third.path, third.checkpoint}


def test_what_a_dead_holder_was_writing_goes_and_what_a_later_one_writes_stays(folder: Path) -> None:
    left(folder, by(**ELSEWHERE), age=LEASE + 1)
    (folder / ".1-t.pt.tmp").write_text("half a checkpoint")
    (folder / "1-t.pt").write_text("whole")
    (folder / "1-t.rounds").write_text("whole")
    (folder / ".1-t.rounds.tmp").write_text("half a copy")
    (folder / "1-t.record").mkdir()
    (folder / "1-t.record" / "run.json").write_text("half a record")
    with claiming(folder) as claim:
        assert sorted(path.name for path in folder.iterdir()) == ["1-t.pt", "1-t.rounds", "2.claim"]
        (folder / "3-u.pt").write_text("of a later claim")
        claim.clear()
        assert [path.name for path in folder.iterdir()] == ["3-u.pt"]


def test_a_claim_that_cannot_be_written_is_named_and_not_left(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(json, "dump", full)
        with pytest.raises(RecordError, match=r"cannot claim .*part: No space left on device"), claiming(folder):
            pass
    assert list(folder.iterdir()) == []
    with claiming(folder):
        pass


@pytest.mark.parametrize("why", [errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO])
def test_a_folder_that_takes_no_file_still_says_who_holds_a_cell(
    folder: Path, monkeypatch: pytest.MonkeyPatch, why: int
) -> None:
    left(folder, by(**ELSEWHERE), age=LEASE - 20)
    left(folder, by(**ELSEWHERE), age=LEASE + 1, number=2)
    real = Path.open

    def refuse(file: Path, mode: str = "r", *rest: Any, **named: Any) -> Any:
        if "r" not in mode:
            raise OSError(why, os.strerror(why))
        return real(file, mode, *rest, **named)

    monkeypatch.setattr(Path, "open", refuse)
    if why == errno.EIO:
        with pytest.raises(RecordError, match="cannot read the claims"):
            holder(folder)
        return
    held = holder(folder)
    assert held is not None
    assert (held.number, round(held.age)) == (1, LEASE - 20)
    with pytest.raises(RecordError, match="cannot claim"), claiming(folder):  # a claim takes the file system's clock
        pass


def test_a_claim_that_is_over_and_cannot_be_removed_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = left(folder, by(**ELSEWHERE), age=LEASE + 1)
    real = Path.unlink

    def refuse(file: Path, missing_ok: bool = False) -> None:
        if file == path:
            raise PermissionError(errno.EPERM, "Operation not permitted")
        real(file, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(RecordError, match=r"1\.claim, which is over, cannot be removed"), claiming(folder):
        pass
    assert list(folder.iterdir()) == [path]


@pytest.mark.parametrize("over", [False, True])
def test_one_that_looked_too_early_steps_back(folder: Path, monkeypatch: pytest.MonkeyPatch, over: bool) -> None:
    # It saw an empty folder; before it claims number 1, another runs a round, stops, and a third claims number 2.
    real, third = Path.open, Claim(folder, 2)

    def late(path: Path, *arguments: Any, **keywords: Any) -> Any:
        if path.name == "1.claim" and "x" in arguments and not third.path.exists():
            left(folder, by(token=third.token, **ELSEWHERE), number=2, age=LEASE + 1 if over else 0)
            (folder / "1-t.pt").write_text("after a round")
        return real(path, *arguments, **keywords)

    monkeypatch.setattr(Path, "open", late)
    if over:  # and that one's machine died long ago
        with claiming(folder) as claim:
            assert claim.number == 3
            assert sorted(path.name for path in folder.iterdir()) == ["1-t.pt", "3.claim"]
        return
    with pytest.raises(Held, match="on another"), claiming(folder):
        pass
    third.check()
    assert sorted(path.name for path in folder.iterdir()) == ["1-t.pt", "2.claim"]


CELLS, PROCESSES = 300, 4

RACE = """\
import json, os, sys
from pathlib import Path
from fl_bench.benchmarks.records.lease import Held, claiming

ran, clashes, tries = [], [], 0
for number in range(int(sys.argv[2])):
    cell = Path(sys.argv[1]) / str(number)
    while not (cell / "record").exists():
        tries += 1
        try:
            with claiming(cell / ".part") as claim:
                if (cell / "record").exists():
                    continue
                try:
                    os.close(os.open(cell / "inside", os.O_CREAT | os.O_EXCL))
                except FileExistsError:
                    clashes.append(number)
                    continue
                claim.checkpoint.write_text("after a round")
                os.unlink(cell / "inside")
                if claim.number % 3 == 0:  # now and then it stops after a round
                    continue
                claim.check()
                (cell / "record").mkdir()
                claim.clear()
                ran.append(number)
        except Held:
            continue
print(json.dumps([ran, clashes, tries]))
"""


@pytest.mark.slow
def test_many_processes_run_each_cell_once(tmp_path: Path) -> None:
    for number in range(CELLS):  # of every three, one is new, one was a dead machine's, and one has an empty claim
        (tmp_path / str(number)).mkdir()
        if number % 3:
            left(tmp_path / str(number) / ".part", by(**ELSEWHERE) if number % 3 == 1 else "", age=LEASE + 1, number=2)
    command = [sys.executable, "-c", RACE, str(tmp_path), str(CELLS)]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(PROCESSES)]
    found = [json.loads(process.communicate()[0]) for process in processes]
    assert [clashes for _, clashes, _ in found] == [[]] * PROCESSES
    assert sorted(number for ran, _, _ in found for number in ran) == list(range(CELLS))
    assert list(tmp_path.rglob("*.claim")) == []
