"""The driver's side of the worker protocol: what workers say may be lost, late, garbled or about something else."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from fl_bench.benchmarks.records.reading import read_record, without_clocks
from fl_bench.benchmarks.records.record import RecordError
from fl_bench.benchmarks.records.store import Store
from fl_bench.benchmarks.running import job as jobs
from fl_bench.benchmarks.running.handshake import Mixture, Setup, setup
from fl_bench.benchmarks.running.job import Job, Retries
from fl_bench.benchmarks.running.protocol import (
    Broken,
    Ended,
    Finished,
    Hello,
    Kept,
    Late,
    Recorded,
    Refused,
    Skipped,
    Started,
    message_line,
    read_message,
)
from fl_bench.benchmarks.running.remote import Remote
from fl_bench.benchmarks.running.runner import Ending, Options, run_cell
from fl_bench.benchmarks.running.worker import serve
from fl_bench.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from fl_bench.benchmarks.grid.cell import Cell
    from fl_bench.benchmarks.records.record import Outcome
    from fl_bench.benchmarks.running.executor import Event
    from fl_bench.benchmarks.running.protocol import Message


class Gone(BaseException):
    """A worker that is killed between two messages."""


@pytest.fixture(scope="module")
def here() -> Setup:
    return setup({}, ["digits"], None)


@pytest.fixture
def cell(cell_of: Callable[..., Cell]) -> Cell:
    return cell_of("fedmd", training={"rounds": 3})


@pytest.fixture
def remote_of(cell: Cell, store: Store, here: Setup) -> Iterator[Callable[..., Remote]]:
    made: list[Remote] = []

    def make(**changes: Any) -> Remote:
        made.append(Remote([cell], store, Options(), **{"expected": here, "kept_every": 0.0, **changes}))
        return made[-1]

    yield make
    for remote in made:
        remote.close()


def next_job(remote: Remote) -> Job:
    job = remote.next()
    assert job is not None
    return job


def work(job: Job, scratch: Path, until: Callable[[Message], bool] = lambda _: False) -> list[bytes]:
    """What a worker says to an order, up to and with the message that `until` names."""
    said: list[bytes] = []

    def emit(message: Message) -> None:
        said.append(message_line(message))
        if until(message):
            raise Gone

    with suppress(Gone):
        serve(job.order, emit, scratch)
    return said


def hear_all(remote: Remote, job: Job, lines: list[bytes]) -> list[Event]:
    for line in lines:
        remote.hear(job, line)
    return list(remote.events())


def after_round(index: int) -> Callable[[Message], bool]:
    """The last part of the checkpoint after a round."""
    rounds = []

    def last(message: Message) -> bool:
        if isinstance(message, Finished):
            rounds.append(message.round)
        return isinstance(message, Kept) and rounds[-1] == index and message.part + 1 == message.parts

    return last


def local_record(cell: Cell, folder: Path) -> Path:
    return run_cell(cell, Store(folder), Options()).folder


def test_the_record_is_that_of_this_machine(
    remote_of: Callable[..., Remote], cell: Cell, store: Store, tmp_path: Path
) -> None:
    remote = remote_of()
    job = next_job(remote)
    events = hear_all(remote, job, work(job, tmp_path / "far"))
    assert [event.kind for event in events] == ["started", "round", "round", "round", "ended"]
    (folder,) = store.folders()
    expected = local_record(cell, tmp_path / "local")
    assert without_clocks(folder) == without_clocks(expected)
    assert (folder / "clients.csv").read_bytes() == (expected / "clients.csv").read_bytes()
    assert [event.accuracy for event in events[1:4]] == [row["client.acc_mean"] for row in read_record(expected).rounds]
    assert events[-1].ending is not None
    assert events[-1].ending.folder == folder
    assert job.over
    assert not job.spoilt
    assert not store.has_checkpoint(cell)
    with store.claim(cell):  # nobody holds it any more
        assert remote.next() is None


def test_a_lost_node_costs_the_rounds_since_its_newest_checkpoint(
    remote_of: Callable[..., Remote], cell: Cell, store: Store, tmp_path: Path
) -> None:
    remote = remote_of()
    first = next_job(remote)
    said = work(first, tmp_path / "far", after_round(1))
    hear_all(remote, first, said)
    assert store.has_checkpoint(cell)
    remote.lost(first, "node", "the node is gone")
    assert list(remote.events()) == []
    assert (first.over, first.spoilt, remote.waiting) == (True, True, 1)
    second = next_job(remote)
    hear_all(remote, second, work(second, tmp_path / "far2"))
    (folder,) = store.folders()
    assert without_clocks(folder) == without_clocks(local_record(cell, tmp_path / "local"))
    # Clocks of rounds that came with the checkpoint are those of the first node.
    trained = [m.values["seconds_training"] for m in map(read_message, said) if isinstance(m, Finished)]
    assert [row["seconds_training"] for row in read_record(folder).rounds][:2] == trained
    assert not store.has_checkpoint(cell)


def test_a_worker_sends_each_finished_round_once_however_often_it_sends_its_state(
    remote_of: Callable[..., Remote], cell: Cell, store: Store, tmp_path: Path
) -> None:
    remote = remote_of()
    first = next_job(remote)
    said = work(first, tmp_path / "far", after_round(1))
    hear_all(remote, first, said)
    sent = [message for message in map(read_message, said) if isinstance(message, Kept)]
    assert [(message.place, message.part) for message in sent] == [(0, 0), (sent[0].rounds, 0)]
    (rounds,) = store.runs.rglob("*.rounds")
    lines = rounds.read_bytes().splitlines(keepends=True)
    assert [message.rounds for message in sent] == list(map(len, lines))
    remote.lost(first, "node", "the node is gone")
    second = next_job(remote)  # another node gets all of them, and says all of them once more
    again = [read_message(line) for line in work(second, tmp_path / "far2")]
    (told,) = [message for message in again if isinstance(message, Kept)]
    assert (told.place, told.rounds > len(b"".join(lines))) == (0, True)


def garbled(line: bytes) -> bytes:
    """One digit of the record has changed on the way."""
    return line.replace(b'\\"status\\": \\"done\\"', b'\\"status\\": \\"dune\\"')


@pytest.mark.parametrize("change", [garbled, lambda line: line[: len(line) // 2], lambda line: b"\x00" + line])
def test_a_garbled_record_is_refused_and_made_again(
    remote_of: Callable[..., Remote], cell: Cell, store: Store, tmp_path: Path, change: Callable[[bytes], bytes]
) -> None:
    remote = remote_of()
    job = next_job(remote)
    said = work(job, tmp_path / "far")
    assert change(said[-1]) != said[-1]
    events = hear_all(remote, job, [*said[:-1], change(said[-1])])
    assert [event.kind for event in events] == ["started", "round", "round", "round"]
    assert store.folders() == []
    assert (job.over, job.spoilt) == (True, True)
    again = next_job(remote)
    hear_all(remote, again, work(again, tmp_path / "far2"))
    (folder,) = store.folders()
    assert without_clocks(folder) == without_clocks(local_record(cell, tmp_path / "local"))


def test_a_record_of_another_cell_is_refused(
    remote_of: Callable[..., Remote], cell_of: Callable[..., Cell], store: Store, tmp_path: Path
) -> None:
    other = read_record(local_record(cell_of("local"), tmp_path / "other"))
    remote = remote_of()
    job = next_job(remote)
    said = work(job, tmp_path / "far", lambda message: isinstance(message, Started))
    hear_all(remote, job, [*said, message_line(Recorded.of(job.cell.key, other.texts()))])
    assert (job.over, job.spoilt, store.folders()) == (True, True, [])


@pytest.mark.parametrize("then", [Finished, Kept, Recorded])
def test_a_driver_that_lost_the_cell_leaves_it_to_who_has_it(
    remote_of: Callable[..., Remote], cell: Cell, store: Store, tmp_path: Path, then: type[Message]
) -> None:
    remote = remote_of()
    job = next_job(remote)
    said = work(job, tmp_path / "far")
    ours = next(number for number, line in enumerate(said) if isinstance(read_message(line), then))
    hear_all(remote, job, said[:ours])
    (claim,) = store.runs.rglob("*.claim")
    os.utime(claim, (0, 0))  # the driver's machine slept
    with store.claim(cell) as other:
        before = set(other.folder.iterdir())
        (event,) = hear_all(remote, job, said[ours:])
        assert (event.kind, job.over, job.spoilt, remote.waiting) == ("skipped", True, True, 0)
        assert "longer than its lease" in event.reason
        assert store.folders() == []
        other.check()
        assert set(other.folder.iterdir()) <= before


@pytest.mark.parametrize("what", ["node", "crash"])
def test_patience_ends(remote_of: Callable[..., Remote], store: Store, cell: Cell, what: Any, tmp_path: Path) -> None:
    remote = remote_of(retries=Retries(node=2, crash=1))
    said: list[bytes] = []
    for attempt in range(getattr(Retries(node=2, crash=1), what) + 1):
        job = next_job(remote)
        said = said or work(job, tmp_path / "far", after_round(1))
        # The last attempt gets no round done; the rounds of earlier ones are in the record.
        hear_all(remote, job, said if attempt == 0 else said[:2])
        assert remote.waiting == 0
        remote.lost(job, what, "it is gone")
    assert remote.next() is None
    (event,) = remote.events()
    assert event.ending is not None
    record = read_record(event.ending.folder)
    assert (record.status, record.reason, len(record.rounds)) == ("failed", "it is gone", 2)
    assert record.facts["deployed"] == "client"
    assert store.has_checkpoint(cell)  # --retry goes on there


def test_what_others_did_counts(remote_of: Callable[..., Remote], store: Store, cell: Cell, tmp_path: Path) -> None:
    remote = remote_of(shared=True, timeout=10.0, spent=lambda _: 4.0, ended=lambda _: None)
    job = next_job(remote)
    assert job.timeout == 6.0
    remote.lost(job, "node", "it is gone")
    assert next_job(remote).timeout == 6.0  # it had not begun
    ending = Ending("failed", "elsewhere", tmp_path)
    remote = remote_of(shared=True, ended=lambda _: ending)
    assert remote.next() is None
    (event,) = remote.events()
    assert (event.ending, event.reason) == (ending, "by another process")
    remote = remote_of(shared=True)
    with store.claim(cell):
        assert remote.next() is None
    (event,) = remote.events()
    assert (event.kind, f"process {os.getpid()} on" in event.reason) == ("skipped", True)


def test_retries_by_default() -> None:
    assert Retries() == Retries(node=5, crash=1)


def test_a_mixture_is_refused_by_name(remote_of: Callable[..., Remote], here: Setup, store: Store, cell: Cell) -> None:
    remote = remote_of()
    job = next_job(remote)
    packages = {**here.packages, "torch": "2.0.0"}
    with pytest.raises(Mixture, match=r"torch is \S+ here and 2\.0\.0 on node-3") as error:
        remote.hear(job, message_line(Hello(replace(here, node="node-3", packages=packages))))
    assert "node-3 would give other numbers" in str(error.value)
    assert (job.over, job.spoilt, remote.waiting, store.folders()) == (True, True, 1, [])
    assert next_job(remote).cell == cell  # another node may take it


def test_a_worker_refuses_what_expects_another_machine(
    remote_of: Callable[..., Remote], here: Setup, tmp_path: Path
) -> None:
    for other, said in (
        ({"instructions": "VSX"}, [Refused]),
        ({"revision": "0"}, [Refused]),
        ({"code": "0"}, [Refused]),
        ({"data": {"digits": "0"}}, [Hello, Refused]),
    ):
        remote = remote_of(expected=replace(here, **other))
        job = next_job(remote)
        lines = work(job, tmp_path / "far")
        assert [type(read_message(line)) for line in lines] == said
        with pytest.raises(Mixture, match=f"^{here.node} would give other numbers: the "):
            hear_all(remote, job, lines[-1:])
        remote.close()


def test_a_worker_says_what_it_cannot_read(tmp_path: Path) -> None:
    said: list[Message] = []
    serve(b'{"protocol": 99}', said.append, tmp_path)
    (message,) = said
    assert isinstance(message, Broken)
    assert message.reason.startswith("the driver speaks version 99 of the worker protocol")


def test_a_late_worker_is_recorded_with_its_rounds(remote_of: Callable[..., Remote], tmp_path: Path) -> None:
    remote = remote_of(timeout=50.0)
    job = next_job(remote)
    assert json.loads(job.order)["timeout"] == 50.0
    assert job.limit == job.began + jobs.START_LIMIT
    hear_all(remote, job, work(job, tmp_path / "far", after_round(0)))
    assert job.limit == job.began + 50.0
    remote.late(job)
    (event,) = remote.events()
    assert event.ending is not None
    record = read_record(event.ending.folder)
    assert (record.status, record.reason) == ("timeout", "ran longer than the time limit of 50 s")
    assert len(record.rounds) == 1


def test_a_worker_that_never_begins_is_no_timeout(remote_of: Callable[..., Remote]) -> None:
    remote = remote_of(timeout=50.0)
    remote.late(next_job(remote))
    (event,) = remote.events()
    assert event.ending is not None
    assert event.ending.status == "failed"
    assert "had not loaded its libraries" in str(event.ending.reason)


def test_attempts_share_the_time_limit(remote_of: Callable[..., Remote], here: Setup) -> None:
    remote = remote_of(timeout=50.0)
    job = next_job(remote)
    hear_all(remote, job, [message_line(Hello(here)), message_line(Started(job.cell.key, {}))])
    job.began -= 20.0
    remote.lost(job, "node", "gone")
    assert next_job(remote).timeout == pytest.approx(30.0, abs=5.0)


def test_a_worker_may_say_itself_that_it_is_late(remote_of: Callable[..., Remote], here: Setup) -> None:
    remote = remote_of(timeout=50.0)
    job = next_job(remote)
    lines = [Hello(here), Started(job.cell.key, {}), Late(job.cell.key)]
    events = hear_all(remote, job, [message_line(message) for message in lines])
    assert [event.kind for event in events] == ["started", "ended"]
    assert events[-1].ending is not None
    assert events[-1].ending.status == "timeout"
    assert job.spoilt


ROUND = Finished("", 0, None, None, None, {}, {"round": 0}, ())


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        ([Started("", {})], "did not say what it is"),
        ([None, Started("other", {})], "about the cell 'other'"),
        ([None, Started("", {}), Started("", {})], "started twice"),
        ([None, replace(ROUND, round=1)], "round 1 came as number 0"),
        ([None, ROUND, ROUND], "round 0 came as number 1"),
        ([None, Kept("", "0", 0, 0, 1, 2, "")], "part 1 of a checkpoint came as number 0"),
        ([None, Kept("", "0", 7, 0, 0, 2, "")], "rounds came from byte 7 on, and 0 bytes had come"),
        ([None, Kept("", "0", 0, 0, 0, 1, "*")], "no Base64"),
        ([None, Kept("", "0", 0, 0, 0, 1, "AAAA")], "not the one that was sent"),
        ([None, Kept("", "0", 0, 9, 0, 1, "AAAA")], "not the one that was sent"),
        ([None, Ended("")], "there is no record"),
    ],
)
def test_what_makes_no_sense_is_refused(
    remote_of: Callable[..., Remote], store: Store, cell: Cell, here: Setup, messages: list[Any], reason: str
) -> None:
    remote = remote_of(retries=Retries(node=0))
    job = next_job(remote)
    for message in messages:
        sent = Hello(here) if message is None else message
        if getattr(sent, "key", None) == "":
            sent = replace(sent, key=cell.key)
        remote.hear(job, message_line(sent))
    ending = [event.ending for event in remote.events()][-1]
    assert ending is not None
    assert ending.status == "failed"
    assert reason in str(ending.reason)
    assert not store.has_checkpoint(cell)


def test_what_a_worker_cannot_do_stops_the_run(remote_of: Callable[..., Remote], here: Setup) -> None:
    for message, error in (
        (Broken("the plugin fails"), ConfigError),
        (Broken("the disk is full", storage=True), RecordError),
    ):
        remote = remote_of()
        job = next_job(remote)
        remote.hear(job, message_line(Hello(replace(here, node="node-3"))))
        with pytest.raises(error, match=r"node-3: the (plugin|disk)"):
            remote.hear(job, message_line(message))
        remote.close()


def test_cells_of_others_are_left_to_them(remote_of: Callable[..., Remote], store: Store, here: Setup) -> None:
    remote = remote_of()
    job = next_job(remote)
    other = remote_of()
    assert other.next() is None
    (event,) = other.events()
    assert event.kind == "skipped"
    said = [Hello(here), Skipped(job.cell.key, "process 1\x1b on far is running it")]
    (event,) = hear_all(remote, job, [message_line(message) for message in said])
    assert (event.kind, event.reason) == ("skipped", "process 1 on far is running it")


def test_what_is_done_is_not_run(
    remote_of: Callable[..., Remote], store: Store, cell: Cell, outcome: Callable[..., Outcome]
) -> None:
    store.write(cell, outcome({"client": [50.0]}))
    remote = remote_of()
    assert remote.next() is None
    (event,) = remote.events()
    assert event.ending is not None
    assert event.ending.status == "done"


def test_a_shared_folder_takes_records_and_checkpoints_itself(
    remote_of: Callable[..., Remote], store: Store, cell: Cell, tmp_path: Path
) -> None:
    remote = remote_of(shared=True)
    job = next_job(remote)
    said = work(job, tmp_path / "far", lambda message: isinstance(message, Finished) and message.round == 1)
    hear_all(remote, job, said)
    assert not any(isinstance(read_message(line), Kept) for line in said)
    assert store.has_checkpoint(cell)
    remote.lost(job, "crash", "killed")
    again = next_job(remote)
    lines = work(again, tmp_path / "far")
    assert isinstance(read_message(lines[-1]), Ended)
    events = hear_all(remote, again, lines)
    assert [event.kind for event in events] == ["started", "round", "round", "round", "ended"]
    (folder,) = store.folders()
    assert without_clocks(folder) == without_clocks(local_record(cell, tmp_path / "local"))


def test_nothing_is_heard_of_a_job_that_is_over(remote_of: Callable[..., Remote], here: Setup) -> None:
    remote = remote_of()
    job = next_job(remote)
    remote.close()
    remote.hear(job, b"garbled")
    remote.lost(job, "node", "gone")
    remote.late(job)
    assert list(remote.events()) == []
