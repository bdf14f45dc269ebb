"""The executor `slurm`: on commands that play SLURM, on processes of this machine, and on a real SLURM of one node."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from local_records import compare_with_local

from fl_bench.benchmarks.grid.executors import read_executor
from fl_bench.benchmarks.grid.grid import Overrides
from fl_bench.benchmarks.grid.plugins import load_plugins
from fl_bench.benchmarks.records.reading import read_record
from fl_bench.benchmarks.records.record import RecordError
from fl_bench.benchmarks.running import following
from fl_bench.benchmarks.running.array import Array, Said
from fl_bench.benchmarks.running.runner import Options, run_cell
from fl_bench.benchmarks.running.sbatch import chunks, seconds_of
from fl_bench.errors import ConfigError

from .slurm_node import SlurmNode, why_not

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fl_bench.benchmarks.grid.cell import Cell
    from fl_bench.benchmarks.grid.grid import Grid
    from fl_bench.benchmarks.records.store import Store
    from fl_bench.benchmarks.running.executor import Event

PLUGIN = """\
import time
from dataclasses import dataclass
from pathlib import Path
from fl_bench.methods.base import Method
from fl_bench.methods.losses import cross_entropy
from fl_bench.methods.registry import method

@dataclass(frozen=True)
class Config:
    gate: str = ""

@method("gated-{name}")
class Gated(Method[Config]):
    "Waits in its second round until a file is there."

    def client_update(self, clients, received, rnd):
        while rnd.index == 1 and not Path(self.config.gate).exists():
            time.sleep(0.05)
        clients.fit(cross_entropy)
"""

PLAYED = {
    "sbatch": """\
[ -e {folder}/refuses ] && {{ cat {folder}/refuses >&2; exit 1; }}
number=$(($(ls {folder} | grep -c '[.]sh$') + 1))
cp "$1" {folder}/$number.sh
echo "Submitted batch job 10$number"
""",
    "squeue": "cat {folder}/queue 2>/dev/null || true\n",
    "scancel": "echo $* >> {folder}/cancelled; : > {folder}/queue\n",
    "scontrol": "echo 'MaxArraySize            = 3'\n",
    "srun": "exit 1\n",
}
"""Shell scripts that play the commands of SLURM: sbatch keeps what is submitted, squeue says what a file says."""


@pytest.fixture
def played(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder where commands that play SLURM keep what they are given."""
    folder = tmp_path / "played"
    folder.mkdir()
    (tmp_path / "bin").mkdir()
    for name, text in PLAYED.items():
        program = tmp_path / "bin" / name
        program.write_text("#!/bin/sh\n" + text.format(folder=folder))
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(following, "PAUSE", 0.0)
    return folder


def run(text: str, cells: list[Cell], store: Store, options: Options | None = None, **rest: Any) -> list[Event]:
    return list(read_executor(text).run(cells, store, options or Options(), **rest))


def script(played: Path, number: int = 1) -> list[str]:
    return (played / f"{number}.sh").read_text().splitlines()


@pytest.mark.parametrize(
    ("limit", "seconds"),
    [
        (30, 1800),
        ("30:20", 1820),
        ("4:00:00", 14400),
        ("0:10:01", 601),
        ("1-12", 129600),
        ("2-1:30", 178200),
        ("1-0:0:5", 86405),
    ],
)
def test_time_limits_are_those_of_sbatch(limit: str | int, seconds: int) -> None:
    assert seconds_of(limit) == seconds
    executor = read_executor(f"slurm[time={limit}]")  # through YAML, to which 4:00:00 is a number of base 60
    assert seconds_of(executor.time) == seconds


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("time=soon", "such as 30 .minutes., 4:00:00 or 1-12, got 'soon'"),
        ("time=9", "540 s; a task needs 600 s at least"),
        ("time=0:09:59", "599 s; a task needs 600 s at least"),
        ("time=10;margin=301", "half of the 600 s of slurm.time is the most"),
        ("margin=29", "slurm.margin must be at least 30, got 29"),
        ("tasks=0", "slurm.tasks must be at least 1, got 0"),
        ("jobs=0", "slurm.jobs must be at least 1, got 0"),
        ("partitions=main", "did you mean 'partition'"),
        ("cluster=pbs", "slurm.cluster must be 'slurm' or 'local'"),
    ],
)
def test_impossible_settings_are_named(settings: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_executor(f"slurm[{settings}]")


def test_arrays_are_as_large_as_the_cluster_takes() -> None:
    assert chunks(7, 3) == [3, 3, 1]
    assert chunks(3, 3) == [3]


def test_without_slurm_it_says_what_is_missing(played: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (played.parent / "bin" / "scontrol").unlink()
    monkeypatch.setenv("PATH", str(played.parent / "bin"))
    with pytest.raises(ConfigError, match=r"there is no scontrol; .*login node.*slurm\[cluster=local\]"):
        read_executor("slurm").slots()


def test_slots_count_all_tasks(played: Path) -> None:
    assert read_executor("slurm[tasks=3;cpus=2]").slots() == ["cpu"] * 6
    assert read_executor("slurm[tasks=3;cpus=8;gpus=2]").slots() == ["cuda"] * 6
    assert read_executor("slurm[tasks=3;cpus=8;gpus=2;jobs=1]").slots() == ["cuda"] * 3


def test_sbatch_is_told_everything(small_grid: Callable[..., Grid], store: Store, played: Path) -> None:
    cells = list(small_grid(Overrides(seeds="0-2")).cells)
    settings = {
        "partition": "main",
        "tasks": 2,
        "time": "'1:00:10'",
        "cpus": 4,
        "jobs": 2,
        "memory": "8G",
        "account": "lab",
        "qos": "low",
        "constraint": "avx512",
        "sbatch": "{reservation: mine}",
        "before": "[module load x]",
        "margin": 300,
        "detach": "true",
    }
    text = f"slurm[{';'.join(f'{name}={value}' for name, value in settings.items())}]"
    events = run(text, cells, store, timeout=7.0)
    (array,) = Array.all(store.results)
    lines = script(played)
    for option in (
        "partition=main",
        "array=0-1%2",
        "time=61",
        "cpus-per-task=4",
        "mem=8G",
        "account=lab",
        "qos=low",
        "constraint=avx512",
        "reservation=mine",
        "signal=USR2@300",
        "requeue",
        f"job-name=fl-bench-{array.name}",
    ):
        assert f"#SBATCH --{option}" in lines
    assert "module load x" in lines
    assert [event.kind for event in events] == ["said", *["skipped"] * len(cells)]
    assert "job 101" in events[0].reason
    order = array.order.read_text()
    assert '"timeout":7.0' in order
    assert '"threads":2' in order
    assert str(store.results.resolve()) in order


def test_large_arrays_are_several(small_grid: Callable[..., Grid], store: Store, played: Path) -> None:
    cells = list(small_grid(Overrides(seeds="0-2")).cells)
    events = run("slurm[tasks=9;detach=true]", cells, store)
    assert "job 101 102" in events[0].reason  # six cells, in arrays of three
    assert [line for n in (1, 2) for line in script(played, n) if "--array" in line] == ["#SBATCH --array=0-2%3"] * 2
    assert not (played / "3.sh").exists()


def test_what_sbatch_refuses_is_said_in_its_words(cell_of: Callable[..., Cell], store: Store, played: Path) -> None:
    (played / "refuses").write_text("sbatch: error: invalid partition specified: nowhere\n")
    with pytest.raises(ConfigError, match="slurm refused 1 task: sbatch: error: invalid partition specified: nowhere"):
        run("slurm[partition=nowhere]", [cell_of("local")], store)


def test_tasks_that_never_began_are_an_error(cell_of: Callable[..., Cell], store: Store, played: Path) -> None:
    events = read_executor("slurm").run([cell_of("local")], store, Options())
    next(events)
    (array,) = Array.all(store.results)
    (array.batch / "101_0_log.err").write_text("slurmstepd: something\npython: command not found\n")
    with pytest.raises(ConfigError, match="no task began to work before all had ended: python: command not found"):
        list(events)


def test_the_same_command_follows_tasks_that_are_there(
    small_grid: Callable[..., Grid], store: Store, played: Path
) -> None:
    cells = list(small_grid().cells)
    run("slurm[detach=true]", cells[:1], store)
    (array,) = Array.all(store.results)
    (played / "queue").write_text(
        f"101_0|fl-bench-{array.name}|PENDING|Priority\n101_1|fl-bench-{array.name}|RUNNING|None\n7|other|RUNNING|None\n"
    )
    say = array.speaker("101_0")
    for said in (
        Said("began", reason="node-1"),
        Said("started", cells[0].key),
        Said("round", cells[0].key, 0, 50.0, 1.5),
        Said("started", cells[0].key),  # it was requeued
        Said("round", cells[0].key, 0, 50.0, 0.1),
    ):
        say(said)
    with closing(read_executor("slurm[detach=false]").run(cells, store, Options())) as running:
        events = [next(running) for _ in range(6)]
        assert [event.kind for event in events] == ["said", "started", "round", "round", "said", "said"]
        assert "job 101, whose tasks take 1 run" in events[0].reason
        assert "submitted for 1 run: job 102" in events[4].reason
        assert events[5].reason == "running: 1 task, waiting: 1 task (Priority)"
        # A record that another one writes is found, once a task says so.
        run_cell(cells[0], store, Options())
        say(Said("ended", cells[0].key, seconds=3.0))
        ended = next(running)
        assert (ended.kind, ended.cell, ended.seconds) == ("ended", cells[0], 3.0)
    assert len(list(played.glob("*.sh"))) == 2


def test_what_tasks_say_last_decides(small_grid: Callable[..., Grid], store: Store, played: Path) -> None:
    cells = list(small_grid().cells)

    def until_it_ends(*last: Said) -> list[Event]:
        events = read_executor("slurm").run(cells, store, Options())
        first = next(events)
        for number, said in enumerate(last):
            Array.all(store.results)[-1].speaker(f"101_{number}")(said)
        return [first, *events]

    with pytest.raises(ConfigError, match="torch is 1 here and 2 on node-3"):
        until_it_ends(Said("left"), Said("broken", reason="torch is 1 here and 2 on node-3"))
    with store.claim(cells[0]), store.claim(cells[1]):
        left = until_it_ends(Said("left"))
    assert [event.kind for event in left] == ["said", "skipped", "skipped"]
    assert f"process {os.getpid()} on " in left[1].reason
    stopped = until_it_ends(Said("left"), Said("stopped", reason="it was asked to end"))
    assert "its task has stopped: it was asked to end; run the same command again" in stopped[-1].reason
    assert [event.kind for event in stopped] == ["said", "skipped", "skipped"]


def test_who_interrupts_is_told_what_becomes_of_the_jobs(
    cell_of: Callable[..., Cell], store: Store, played: Path
) -> None:
    events = read_executor("slurm").run([cell_of("local")], store, Options())
    next(events)
    (array,) = Array.all(store.results)
    (played / "queue").write_text(f"101_0|fl-bench-{array.name}|PENDING|Resources\n")
    assert next(events).reason == "waiting: 1 task (Resources)"
    with pytest.raises(KeyboardInterrupt, match=r"the jobs go on .* scancel 101 ends them"):
        events.throw(KeyboardInterrupt)


def test_a_queue_that_does_not_answer_is_asked_again(cell_of: Callable[..., Cell], store: Store, played: Path) -> None:
    events = read_executor("slurm").run([cell_of("local")], store, Options())
    next(events)
    asked = played / "asked"
    (played.parent / "bin" / "squeue").write_text(f"#!/bin/sh\necho >> {asked}; [ $(wc -l < {asked}) -ge 4 ]\n")
    with pytest.raises(ConfigError, match="no task began"):
        list(events)
    assert asked.read_text().count("\n") == 4


def test_a_full_disk_is_no_setting_that_is_wrong(cell_of: Callable[..., Cell], store: Store, played: Path) -> None:
    events = read_executor("slurm").run([cell_of("local")], store, Options())
    next(events)
    Array.all(store.results)[-1].speaker("101")(Said("full", reason="No space left on device"))
    with pytest.raises(RecordError, match="No space left"):
        list(events)


def test_lost_tasks_are_submitted_again_and_time_limits_go_on(
    cell_of: Callable[..., Cell], store: Store, played: Path
) -> None:
    cell = cell_of("local")
    submitted = 0
    for event in read_executor("slurm").run([cell], store, Options(), timeout=60.0):
        if event.kind == "said":
            submitted += 1
            array = Array.all(store.results)[-1]
            say = array.speaker("101_0")
            say(Said("began"))
            say(Said("started", cell.key))
            say(Said("round", cell.key, 0, 50.0, 2.0))
        last = event
    assert submitted == 6  # once, and five times more
    assert (last.kind, last.reason.partition(";")[0]) == ("skipped", "its tasks were lost 6 times")
    watch = following.Watch(array)
    watch.news()
    assert watch.spent(cell.key) == 12.0


def test_folders_of_arrays_go_when_all_cells_are_done_and_no_task_is_left(
    small_grid: Callable[..., Grid], store: Store, played: Path
) -> None:
    cells = list(small_grid().cells)
    for some in (cells[:1], cells):
        run("slurm[detach=true]", some, store)
    first, second = Array.all(store.results)
    run_cell(cells[0], store, Options())
    run("slurm", [], store)  # what a command does that finds its runs done
    assert Array.all(store.results) == [second]
    (played / "queue").write_text(f"102_0|fl-bench-{second.name}|PENDING|Priority\n")
    run_cell(cells[1], store, Options())
    run("slurm", [], store)
    assert (played / "cancelled").read_text() == "102_0\n"  # it would have found nothing to do
    assert not (store.results / ".jobs").exists()
    assert first.name < second.name


def test_tasks_of_others_are_not_cancelled(small_grid: Callable[..., Grid], store: Store, played: Path) -> None:
    cells = list(small_grid().cells)
    run("slurm[detach=true]", cells, store)
    (array,) = Array.all(store.results)
    run_cell(cells[0], store, Options())
    (played / "queue").write_text(f"101_0|fl-bench-{array.name}|PENDING|Priority\n7|fl-bench-other|PENDING|None\n")
    run("slurm", [], store)  # one cell is not done
    assert Array.all(store.results) == [array]
    run_cell(cells[1], store, Options())
    run("slurm", [], store)
    assert (played / "cancelled").read_text() == "101_0\n"


def test_a_task_that_does_not_end_is_cancelled_and_one_that_ignores_that_keeps_its_folder(
    cell_of: Callable[..., Cell], store: Store, played: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "ENDING", 0.3)
    run("slurm[detach=true]", [cell_of("local")], store)
    (array,) = Array.all(store.results)
    run_cell(cell_of("local"), store, Options())
    (played.parent / "bin" / "scancel").write_text(f"#!/bin/sh\necho $* >> {played}/cancelled\n")
    (played / "queue").write_text(f"101_0|fl-bench-{array.name}|RUNNING|None\n")
    run("slurm", [], store)
    assert (played / "cancelled").read_text() == "101_0\n"  # once
    assert Array.all(store.results) == [array]


def test_tasks_whose_command_was_killed_while_it_submitted_them_are_waited_for(
    cell_of: Callable[..., Cell], store: Store, played: Path
) -> None:
    run("slurm[detach=true]", [cell_of("local")], store)
    (array,) = Array.all(store.results)
    array.submitted.unlink()  # killed before sbatch said anything; sbatch itself went on
    asked, line = played / "asked", f"101_0|fl-bench-{array.name}|PENDING|Priority"
    squeue = played.parent / "bin" / "squeue"
    squeue.write_text(f"#!/bin/sh\necho >> {asked}; [ $(wc -l < {asked}) -lt 4 ] || echo '{line}'\n")
    events = run("slurm[detach=true]", [cell_of("local")], store)
    assert [event.reason.partition(",")[0] for event in events] == [
        "tasks are being submitted",
        "followed: job 101",
        "a job of the cluster runs it",
    ]
    assert not (played / "2.sh").exists()


def test_tasks_that_never_come_to_the_queue_are_submitted_again(
    cell_of: Callable[..., Cell], store: Store, played: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "SUBMITTING", 1.0)
    run("slurm[detach=true]", [cell_of("local")], store)
    (array,) = Array.all(store.results)
    array.submitted.unlink()
    events = run("slurm[detach=true]", [cell_of("local")], store)
    assert "submitted for 1 run: job 102" in events[-2].reason
    again = run("slurm[detach=true]", [cell_of("local")], store)
    assert "submitted for 1 run: job 103" in again[0].reason  # the queue forgot them, and all is known of these


def test_a_killed_command_leaves_no_folder_for_ever(
    cell_of: Callable[..., Cell], store: Store, played: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = store.results / ".jobs" / "made"
    (made / "batch").mkdir(parents=True)
    run("slurm", [], store)
    assert made.exists()  # another command may be about to write its order
    old = time.time() - 2 * 3600
    os.utime(made, (old, old))
    run("slurm", [], store)
    assert not (store.results / ".jobs").exists()
    # Killed while it removes a folder: the order is the last thing that goes.
    run("slurm[detach=true]", [cell_of("local")], store)
    run_cell(cell_of("local"), store, Options())
    with monkeypatch.context() as patch:
        patch.setattr("shutil.rmtree", lambda path, **_: None)
        run("slurm", [], store)
    (array,) = Array.all(store.results)
    assert not array.log("earlier").exists()
    run("slurm", [], store)
    assert not (store.results / ".jobs").exists()


def test_a_watch_waits_for_whole_lines(tmp_path: Path) -> None:
    array = Array.new(tmp_path, b"{}\n")
    watch = following.Watch(array)
    with array.log("1").open("ab") as file:
        file.write(b'{"kind":"began"}\n{"kind":"sta')
        file.flush()
        assert [said.kind for said in watch.news()] == ["began"]
        file.write(b'rted","key":"k"}\n')
    assert watch.news() == [Said("started", "k")]
    assert watch.news() == []


def test_all_attempts_at_a_cell_count(tmp_path: Path) -> None:
    array = Array.new(tmp_path, b"{}\n", [("k", 1.0)])
    for task, attempts in (("1_0", (2.0, 4.0)), ("1_1", (8.0,))):
        for seconds in attempts:
            array.speaker(task)(Said("started", "k"))
            array.speaker(task)(Said("round", "k", 0, seconds=seconds / 2))
            array.speaker(task)(Said("round", "k", 1, seconds=seconds))
    watch = following.Watch(array)
    watch.news()
    assert watch.spent("k") == 1 + 2 + 4 + 8
    assert watch.spent("other") == 0


def test_a_cell_that_failed_in_tasks_that_run_on_is_tried_again_by_others(
    cell_of: Callable[..., Cell], store: Store, played: Path
) -> None:
    cell = cell_of("local")
    run("slurm[detach=true]", [cell], store, Options(retry=True))
    (array,) = Array.all(store.results)
    (played / "queue").write_text(f"101_0|fl-bench-{array.name}|RUNNING|None\n")
    array.speaker("101_0")(Said("ended", cell.key))
    events = run("slurm[tasks=5;detach=true]", [cell], store, Options(retry=True))
    assert "submitted for 1 run: job 102" in events[0].reason
    assert not [line for line in script(played, 2) if "--array" in line]  # there is work for one task


@pytest.fixture
def gated(tmp_path: Path, request: pytest.FixtureRequest) -> str:
    """A plugin whose method waits for a file; it is called like the test."""
    name = request.node.name.replace("_", "-")
    path = tmp_path / "gated.py"
    path.write_text(PLUGIN.replace("{name}", name))
    load_plugins([str(path)])
    return f"gated-{name}[gate={tmp_path / 'gate'}]"


@pytest.mark.slow
def test_processes_of_this_machine_share_the_cells(
    small_grid: Callable[..., Grid], store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "PAUSE", 0.2)
    cells = list(small_grid(Overrides(seeds="0,1")).cells)
    logs: list[str] = []
    events = []
    for event in read_executor("slurm[cluster=local;tasks=2]").run(cells, store, Options()):
        events.append(event)
        if sum(event.ending is not None for event in events) == len(cells):
            (array,) = Array.all(store.results)
            logs = [path.read_text() for path in array.path.glob("[0-9]*.jsonl")]
    assert sorted(event.cell.key for event in events if event.ending) == sorted(cell.key for cell in cells)
    assert {event.ending.status for event in events if event.ending} == {"done"}
    compare_with_local(store, cells, tmp_path / "other")
    assert len(logs) == 2
    assert sum(text.count('"ended"') for text in logs) == len(cells)  # each by one of them
    assert not (store.results / ".jobs").exists()


@pytest.mark.slow
def test_a_time_limit_ends_a_cell_whose_record_has_its_rounds(
    small_grid: Callable[..., Grid], store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gated: str
) -> None:
    monkeypatch.setattr(following, "PAUSE", 0.2)
    (cell,) = (cell for cell in small_grid(Overrides(methods=gated)).cells if cell.method != "local")
    events = run("slurm[cluster=local]", [cell], store, Options(plugins=(str(tmp_path / "gated.py"),)), timeout=4.0)
    assert [event.kind for event in events if event.kind != "said"] == ["started", "round", "ended"]
    record = read_record(store.folders()[0])
    assert (record.status, record.reason, len(record.rounds)) == ("timeout", "ran longer than the time limit of 4 s", 1)
    assert store.has_checkpoint(cell)


@pytest.fixture(scope="module")
def node() -> Iterator[SlurmNode]:
    """A real SLURM."""
    reason = why_not()
    if reason:
        pytest.skip(f"no SLURM here: {reason}")
    node = SlurmNode(Path(tempfile.mkdtemp(prefix="slurm-")))
    try:
        node.start()
        yield node
    finally:
        node.stop()
        shutil.rmtree(node.folder)


@pytest.fixture
def on_slurm(node: SlurmNode, monkeypatch: pytest.MonkeyPatch) -> SlurmNode:
    monkeypatch.setenv("SLURM_CONF", str(node.config))
    monkeypatch.setattr(following, "PAUSE", 0.3)
    return node


@pytest.mark.slow
def test_a_real_task_is_preempted_and_reaches_its_limit_and_nothing_shows(
    small_grid: Callable[..., Grid], store: Store, tmp_path: Path, on_slurm: SlurmNode, gated: str
) -> None:
    cells = [cell for cell in small_grid(Overrides(methods=gated, seeds="0,1")).cells if cell.method != "local"]
    options = Options(plugins=(str(tmp_path / "gated.py"),))
    with closing(read_executor("slurm[partition=main;tasks=2;time=20;margin=60]").run(cells, store, options)) as events:
        rounds = (event for event in events if event.kind == "round")
        assert {next(rounds).cell, next(rounds).cell} == set(cells)  # each task has one, and waits in its second round
        (array,) = Array.all(store.results)
        # A job that needs one of both cores takes the place of a task, and SLURM requeues the task.
        on_slurm.ask("sbatch", "--partition=urgent", "--output=/dev/null", "--wrap=sleep 1")
        on_slurm.wait_until(lambda: bool(waiting(on_slurm)), "a task waits again")
        (task,) = waiting(on_slurm)
        log = array.log(task)
        again(on_slurm, task)
        on_slurm.wait_until(lambda: log.read_text().count('"started"') == 2, "the cell has started again")
        # Its limit is near: submitit is told so by a signal, and asks for the task to be requeued.
        on_slurm.ask("scontrol", "update", f"JobId={task}", "TimeLimit=1")
        on_slurm.wait_until(lambda: waiting(on_slurm) == [task], "the task waits again", 240.0)
        on_slurm.ask("scontrol", "update", f"JobId={task}", "TimeLimit=20")
        assert list(array.path.parent.parent.rglob("*.part")) != []
        (tmp_path / "gate").touch()
        again(on_slurm, task)
        ended = []
        for event in events:
            ended += [event] if event.ending else []
            stopped = [line for line in log.read_text().splitlines() if '"stopped"' in line]
    assert {event.cell for event in ended} == set(cells)
    assert {event.ending.status for event in ended if event.ending} == {"done"}
    assert ["asked to end" in line for line in stopped] == [True, False]
    assert "time limit is near" in stopped[1]
    compare_with_local(store, cells, tmp_path / "other")


def waiting(node: SlurmNode) -> list[str]:
    """Our tasks that SLURM has not started, or has requeued."""
    return node.ask("squeue", "--noheader", "--array", "--partition=main", "--states=PENDING", "--format=%i").split()


def again(node: SlurmNode, task: str) -> None:
    """A requeued task may start two minutes later only; bring it forward until it runs."""

    def runs() -> bool:
        if task in waiting(node):
            subprocess.run(
                ["scontrol", "update", f"JobId={task}", "StartTime=now"],
                env={**os.environ, "SLURM_CONF": str(node.config)},
                capture_output=True,
                timeout=60,
                check=False,  # it may have begun just now
            )
            time.sleep(0.5)
        return task not in waiting(node)

    node.wait_until(runs, "the task runs again", 150.0)


@pytest.mark.slow
def test_a_real_sbatch_refuses_and_a_second_command_follows(
    small_grid: Callable[..., Grid], store: Store, on_slurm: SlurmNode
) -> None:
    cells = list(small_grid().cells)
    with pytest.raises(ConfigError, match=r"slurm refused 2 tasks: .*invalid partition"):
        run("slurm[partition=nowhere;tasks=2]", cells, store)
    first = run("slurm[tasks=2;detach=true]", cells, store)
    assert [event.kind for event in first] == ["said", "skipped", "skipped"]
    second = run("slurm[tasks=2]", cells, store)
    assert "whose tasks take 2 runs" in second[0].reason
    assert not [event for event in second if event.reason.startswith("submitted")]
    assert [event.ending.status for event in second if event.ending] == ["done", "done"]
    assert not (store.results / ".jobs").exists()  # nor that of the one that was refused
