"""The faults of docs/reliability.md: what counts as harm, what the page says, and a small storm."""

from __future__ import annotations

import errno
import itertools
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from fl_bench.benchmarks.records.reading import without_clocks
from fl_bench.benchmarks.records.store import Store
from fl_bench.benchmarks.reliability import __main__ as program
from fl_bench.benchmarks.reliability import kills, page, store
from fl_bench.benchmarks.reliability.command import Command
from fl_bench.benchmarks.reliability.families import FAMILIES
from fl_bench.benchmarks.reliability.fault import described, measure, titled
from fl_bench.benchmarks.reliability.place import Place, Results
from fl_bench.benchmarks.reliability.seen import BrokenError, NotHereError, Seen
from fl_bench.benchmarks.reliability.shim import ahead, failing, late
from fl_bench.benchmarks.reliability.store import here, keep, stored

if TYPE_CHECKING:
    from collections.abc import Callable

    from fl_bench.benchmarks.grid.cell import Cell
    from fl_bench.benchmarks.records.record import Outcome

needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="processes are read from /proc")


def expected(place: Place) -> Seen:
    """It is injected somehow.

    Expected: something.

    Recovery: none.
    """
    return Seen(times=3, kills=2, exits={1, -9}, cells=60, notes=["a note"])


def missing(place: Place) -> Seen:
    """It is injected otherwise.

    Expected: something.

    Recovery: none.
    """
    raise NotHereError("there is no disk to fill")


def harmful(place: Place) -> Seen:
    """It is injected, too.

    Expected: something.

    Recovery: none.
    """
    raise BrokenError("a record was lost")


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path, times=1)


@pytest.fixture
def records(tmp_path: Path, cell_of: Callable[..., Cell], outcome: Callable[..., Outcome]) -> Results:
    """A folder with the records of two seeds, which are those of the uninterrupted run."""
    for folder in ("reference", "results"):
        for seed in (0, 1):
            Store(tmp_path / folder).write(cell_of(seed=seed), outcome({"client": [10.0, 20.0 + seed]}))
    reference = {
        f"{folder.parent.name}/{folder.name}": without_clocks(folder)
        for folder in Store(tmp_path / "reference").folders()
    }
    return Results(tmp_path / "results", reference)


def rewrite(records: Results, old: str, new: str, seed: int = 0) -> None:
    folder = next(folder for folder in Store(records.folder).folders() if f"-{seed}-" in folder.name)
    for path in folder.iterdir():
        path.write_text(path.read_text().replace(old, new))


def test_every_fault_says_how_it_is_injected_what_is_expected_and_what_one_does() -> None:
    for faults in FAMILIES.values():
        assert all(all(described(fault)) for fault in faults)
    names = [titled(fault) for faults in FAMILIES.values() for fault in faults]
    assert len(set(names)) == len(names)


def test_equal_records_are_complete(records: Results) -> None:
    assert records.check() == 2
    rewrite(records, "+00:00", "+01:00")  # a clock, before anything was seen
    other = Results(records.folder, records._reference)
    assert other.complete() == 2


def test_another_number_is_harm(records: Results) -> None:
    rewrite(records, "20.0", "20.1")
    with pytest.raises(BrokenError, match="differs from an uninterrupted run: rounds"):
        records.check()


def test_a_finished_record_that_changes_is_harm_though_it_be_a_clock(records: Results) -> None:
    records.check()
    rewrite(records, "+00:00", "+01:00")
    with pytest.raises(BrokenError, match="changed or are gone: digits/local-0-"):
        records.check()


def test_a_record_that_is_gone_is_harm(records: Results, tmp_path: Path) -> None:
    records.check()
    folder = Store(records.folder).folders()[0]
    folder.rename(tmp_path / "elsewhere")
    with pytest.raises(BrokenError, match="changed or are gone"):
        records.check()


def test_a_record_that_is_missing_at_the_end_is_harm(records: Results, tmp_path: Path) -> None:
    Store(records.folder).folders()[0].rename(tmp_path / "elsewhere")
    assert records.check() == 1
    with pytest.raises(BrokenError, match="1 records are missing"):
        records.complete()


def test_what_is_left_over_is_harm(records: Results) -> None:
    (records.folder / "runs/digits/.0-abc.part").mkdir()
    with pytest.raises(BrokenError, match=r"left beside the records: runs/digits/\.0-abc\.part"):
        records.complete()


def test_a_failed_record_is_harm_unless_the_fault_says_why(
    records: Results, cell_of: Callable[..., Cell], outcome: Callable[..., Outcome]
) -> None:
    reason = "the worker process was killed by SIGKILL"
    Store(records.folder).write(cell_of(seed=2), outcome(status="failed", reason=reason))
    assert records.check(failed="killed by SIGKILL") == 2
    for allowed in (None, "out of memory"):
        with pytest.raises(BrokenError, match="is failed: the worker process"):
            records.check(failed=allowed)


def test_rounds_that_were_trained_again_are_counted(place: Place) -> None:
    # Seed 0 goes back from round 2 to 2 and loses the one; seed 1 from 3 to 2, and loses two.
    place.rounds.write_text("0 0\n1 0\n0 1\n0 2\n1 1\n1 2\n1 3\n0 2\n1 2\n0 3\n1 3\n")
    assert place.lost() == [1, 2]
    assert place.lost() == []


def test_a_fault_becomes_a_row(place: Place) -> None:
    row = measure(expected, place)
    assert (row["fault"], row["injected"], row["result"]) == ("expected", "It is injected somehow.", "as expected")
    assert (row["times"], row["exits"], row["cells"]) == (3, [-9, 1], 60)
    assert measure(missing, place)["result"] == "not run"
    assert measure(harmful, place)["result"] == "broken"


def test_what_was_never_injected_was_not_run(place: Place) -> None:
    def late(place: Place) -> Seen:
        return Seen(times=0, cells=60)

    late.__doc__ = expected.__doc__
    assert measure(late, place)["result"] == "not run"


def test_the_page_names_what_was_not_run_and_what_did_harm(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page, "FAMILIES", {"tests": (expected, missing, harmful), "others": (expected,)})
    keep("tests", [measure(fault, place) for fault in (expected, missing, harmful)], tmp_path)
    text = page.page(stored(tmp_path))
    lines = text.splitlines()
    assert "| expected | 3 | signal 9, 1 | 60 | as expected |" in lines
    assert "| missing |  |  |  | **not run** |" in lines
    assert "In all, 3 faults were injected; 2 of them are kills." in lines
    assert "| harmful |  |  |  | **broken** |" in lines
    assert "- Result: **not run**: there is no disk to fill." in lines
    assert "- Result: **broken**: a record was lost." in lines
    others = text[text.index("## Others") :]
    assert "Not run." in others
    assert "- Result: **not run**: there is no result of it yet." in others


def test_a_row_takes_the_place_of_the_one_before_and_others_stay(place: Place, tmp_path: Path) -> None:
    rows = [measure(fault, place) for fault in (expected, missing)]
    keep("tests", rows, tmp_path)
    keep("tests", [{**rows[1], "why": "there is no root"}], tmp_path)
    found = stored(tmp_path)["tests"]["rows"]
    assert [(row["fault"], row.get("why")) for row in found] == [("expected", None), ("missing", "there is no root")]
    assert all(row["at"]["packages"]["torch"] for row in found)


def test_a_row_says_of_the_tree_what_was_true_when_it_was_measured(place: Place, tmp_path: Path) -> None:
    at = {**here(), "dirty": "as it was"}  # result files that were written since would count as changes
    keep("tests", [{**measure(expected, place), "at": at}], tmp_path)
    assert stored(tmp_path)["tests"]["rows"][0]["at"] == at


@needs_linux
def test_a_command_hangs_when_it_says_no_more_and_not_when_it_is_slow(tmp_path: Path) -> None:
    def command(program: str) -> Command:
        return Command([], tmp_path, tmp_path / "log", before=["/bin/sh", "-c", program])

    assert command("for n in 1 2 3 4; do sleep 0.5; echo $n; done; exit 5").wait(1.5) == 5
    with pytest.raises(BrokenError, match=r"not said a word for 1\.5 s; its last ones: on the way"):
        command("echo on the way; sleep 60").wait(1.5)


def test_nothing_is_stored_before_the_last_fault_has_been_injected(monkeypatch: pytest.MonkeyPatch) -> None:
    # What is stored changes the tree, and records say whether it has changes: those of the next fault would differ.
    kept: list[str] = []
    found: list[list[str]] = []

    def looks(place: Place) -> Seen:
        found.append(kept.copy())
        return Seen(times=1)

    looks.__doc__ = expected.__doc__
    monkeypatch.setattr(program, "FAMILIES", {"one": (expected, looks), "two": (looks, missing)})
    monkeypatch.setattr(store, "keep", lambda family, rows: kept.extend(f"{family}: {row['fault']}" for row in rows))
    monkeypatch.setattr(page, "write", lambda: Path("nowhere"))
    assert program.main([]) == 0
    assert found == [[], []]
    assert kept == ["one: expected", "one: looks", "two: looks", "two: missing"]


def test_the_page_in_docs_is_what_the_stored_results_give() -> None:
    assert (page.DOCS / "reliability.md").read_text(encoding="utf-8") == page.page(stored())
    assert any(row["result"] == "as expected" for result in stored().values() for row in result["rows"])
    assert not [row["fault"] for result in stored().values() for row in result["rows"] if row["result"] == "broken"]


def in_front(environment: dict[str, str], program: str) -> str:
    """What a program prints with the library in front of it."""
    command = [sys.executable, "-I", "-c", program]
    return subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ, **environment}).stdout


def compiled(place: Place) -> None:
    try:
        failing(place, place.folder, "write", "EIO")
    except NotHereError as error:
        pytest.skip(str(error))


WRITE = """
import os
for name in {names}:
    try:
        with open(name, "w") as file:
            file.write("a")
        print("written")
    except OSError as error:
        print(error.errno)
"""


def test_calls_fail_below_the_folder_where_the_path_matches_after_so_many(place: Place, tmp_path: Path) -> None:
    compiled(place)
    folder = tmp_path / "below"
    folder.mkdir()
    names = [
        str(path) for path in (folder / "a.pt", folder / "b.txt", tmp_path / "c.pt", folder / "d.pt", folder / "e.pt")
    ]
    environment = failing(place, folder, "write", "ENOSPC", match=".pt", after=1)
    said = in_front(environment, WRITE.format(names=names)).split()
    assert said == ["written", "written", "written", str(errno.ENOSPC), "written"]
    assert Path(environment["FAULTS_HIT"]).exists()


def test_what_others_create_is_seen_late_and_ones_own_at_once(place: Place, tmp_path: Path) -> None:
    compiled(place)
    (tmp_path / "theirs").touch()
    program = f"""
import os
os.chdir({str(tmp_path)!r})
open("ours", "w").close()
print(os.path.exists("ours"), os.path.exists("theirs"))
for mode in ("r", "x"):
    try:
        open("theirs", mode)
    except OSError as error:
        print(type(error).__name__)
"""
    assert in_front(late(place, tmp_path, 600), program).split() == [
        "True",
        "False",
        "FileNotFoundError",
        "FileExistsError",
    ]
    time.sleep(2.1)
    assert in_front(late(place, tmp_path, 2), f"print(open({str(tmp_path / 'theirs')!r}).read() == '')").split() == [
        "True"
    ]


def test_a_clock_is_ahead_and_so_are_the_times_of_files(place: Place, tmp_path: Path) -> None:
    compiled(place)
    program = f"""
import os, time
os.chdir({str(tmp_path)!r})
print(time.time())
with open("file", "w") as file:
    file.write("a")
print(os.stat("file").st_mtime)
os.utime("file", (0, 0))
os.utime("file")
print(os.stat("file").st_mtime)
"""
    before = os.stat(tmp_path / "faults.yaml").st_mtime
    times = [float(word) - before for word in in_front(ahead(place, tmp_path, 3000), program).split()]
    assert all(2990 < seconds < 3300 for seconds in times)


@needs_linux
@pytest.mark.slow
def test_a_storm_of_kills_leaves_the_records_of_an_uninterrupted_run(place: Place) -> None:
    turns = itertools.cycle(
        [kills.kill_group, kills.kill_driver, kills.kill_worker]
    )  # on one folder, one after another
    seen = kills.storm(place, 3, 2, lambda place, command, _: next(turns)(place, command, 1), retry=True)
    assert seen.times == seen.kills == 3
    assert seen.cells >= 6
