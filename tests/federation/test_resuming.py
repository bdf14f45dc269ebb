"""A run that is killed at any write of a checkpoint goes on as if it had not been, and writes what a round adds."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Any

import pytest

from fl_bench.errors import StorageError
from fl_bench.federation import journal
from fl_bench.federation.journal import beside
from fl_bench.federation.run import Run
from fl_bench.federation.settings import ModelMix, Training
from fl_bench.methods.registry import METHODS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

ROUNDS = 3
WRITES = ("fsync", "fsync", "replace")
"""Of a round: its rounds reach the disk, its state does, the state takes the place of the one before."""


class Killed(BaseException):
    """The process ends here."""


@pytest.fixture
def start(deal: Callable[..., Any]) -> Callable[..., Run]:
    """Makes a run of FedAvg on three clients."""

    def make(checkpoint: Path | None = None, rounds: int = ROUNDS) -> Run:
        training = Training(
            rounds=rounds, participation=1.0, local_epochs=1, optimizer="adam", optimizer_state="persist"
        )
        mix = ModelMix(names=("mlp-4",))
        return Run(METHODS["fedavg"](), *deal(), mix, training, seed=3, checkpoint=checkpoint)

    return make


def rows_of(run: Run) -> list[Any]:
    return [
        ({key: value for key, value in row.values.items() if not key.startswith("seconds_")}, row.clients)
        for row in run.rounds()
    ]


@pytest.fixture
def kill_at(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Lets a process die at its n-th write, before or after the call that makes it."""
    with monkeypatch.context() as patch:

        def arm(number: int, *, done: bool) -> None:
            calls: list[str] = []

            def counted(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
                def call(*arguments: Any) -> Any:
                    calls.append(name)
                    if len(calls) < number + 1:
                        return real(*arguments)
                    if done:
                        real(*arguments)
                    patch.undo()
                    raise Killed

                return call

            for name in dict.fromkeys(WRITES):
                patch.setattr(os, name, counted(name, getattr(os, name)))

        yield arm


@pytest.mark.parametrize("done", [False, True], ids=["before it", "after it"])
@pytest.mark.parametrize("number", range(ROUNDS * len(WRITES)))
def test_a_kill_at_any_write_costs_a_round_at_most(
    start: Callable[..., Run], kill_at: Callable[..., None], tmp_path: Path, number: int, done: bool
) -> None:
    path = tmp_path / "1-a.pt"
    kill_at(number, done=done)
    with pytest.raises(Killed):
        rows_of(start(path))
    finished = (number + done) // len(WRITES)
    resumed = start(path)
    rounds = resumed.rounds()
    restored = [next(rounds) for _ in range(finished)]
    trained: list[int] = []
    resumed.method.client_update = counting(resumed.method.client_update, trained)  # type: ignore[method-assign]
    assert len([*restored, *rounds]) == ROUNDS
    assert trained == list(range(finished, ROUNDS))
    assert rows_of(start(path)) == rows_of(start())  # from the checkpoint of the last round
    assert beside(path).read_bytes().count(b"\n") == ROUNDS


def counting(real: Callable[..., Any], trained: list[int]) -> Callable[..., Any]:
    def update(clients: Any, received: Any, rnd: Any) -> Any:
        trained.append(rnd.index)
        return real(clients, received, rnd)

    return update


def test_a_torn_line_behind_the_last_round_is_cut_off(start: Callable[..., Run], tmp_path: Path) -> None:
    path, whole = tmp_path / "1-a.pt", rows_of(start())
    rounds = start(path).rounds()
    next(rounds)
    with beside(path).open("ab") as file:
        file.write(b'[{"round": 1, "client.acc')
    assert rows_of(start(path)) == whole
    assert rows_of(start(path)) == whole


def test_rounds_that_were_changed_are_never_taken_for_finished_ones(start: Callable[..., Run], tmp_path: Path) -> None:
    path, whole = tmp_path / "1-a.pt", rows_of(start())
    rounds = start(path).rounds()
    next(rounds), next(rounds)
    content = beside(path).read_bytes()
    assert content.count(b'"participants":3') == 2
    beside(path).write_bytes(content.replace(b'"participants":3', b'"participants":9'))
    assert rows_of(start(path)) == whole  # from the first round on, as with a damaged state


def test_a_disk_that_fills_up_in_the_rounds_is_the_disks_fault(
    start: Callable[..., Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "1-a.pt"
    run = start(path)
    rounds = run.rounds()
    first = next(rounds)

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(StorageError, match=r"cannot write .*1-a\.rounds: No space left on device"):
            next(rounds)
    assert run.saving
    resumed = start(path).rounds()
    assert next(resumed).values["seconds_training"] == first.values["seconds_training"]
    assert rows_of(start(path)) == rows_of(start())


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[int]]:
    """Bytes of each write of a checkpoint, by the suffix of the file."""
    sizes: dict[str, list[int]] = {".rounds": [], ".pt": []}
    put, replace = journal.put_at, os.replace

    def counted_put(path: Path, content: bytes, place: int) -> None:
        sizes[path.suffix].append(len(content))
        put(path, content, place)

    def counted_replace(source: Path, target: Path) -> None:
        sizes[target.suffix].append(source.stat().st_size)
        replace(source, target)

    monkeypatch.setattr(journal, "put_at", counted_put)
    monkeypatch.setattr(os, "replace", counted_replace)
    return sizes


def test_a_round_writes_its_own_state_and_rows_and_no_earlier_ones(
    start: Callable[..., Run], tmp_path: Path, written: dict[str, list[int]]
) -> None:
    path = tmp_path / "1-a.pt"
    rounds = 30
    rows_of(start(path, rounds))
    assert (len(written[".rounds"]), len(written[".pt"])) == (rounds, rounds)
    assert sum(written[".rounds"]) == beside(path).stat().st_size
    # Some digits come and go in clocks and accuracies; thirty rounds as a whole would be thirty times as long.
    assert max(written[".rounds"]) < 1.2 * min(written[".rounds"])
    assert max(written[".pt"]) < 1.05 * min(written[".pt"])


def test_a_hundred_rounds_of_a_thousand_clients_are_written_once(tmp_path: Path, written: dict[str, list[int]]) -> None:
    clients = [
        {"round": 0, "client": n, "size": 100 + n, "client.acc": n / 7, "client.loss": n / 9} for n in range(1000)
    ]
    kept = journal.Journal(tmp_path / "a.rounds")
    for index in range(100):
        kept.add({"round": index, "client.acc_mean": 50.0}, clients)
    size = (tmp_path / "a.rounds").stat().st_size
    assert sum(written[".rounds"]) == size == kept.mark.bytes
    assert size < 12e6
