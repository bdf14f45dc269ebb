"""Finished rounds beside a checkpoint: added once, cut off behind the mark, given up where damaged."""

from __future__ import annotations

import errno
import json
import os
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fl_bench.errors import StorageError
from fl_bench.federation import checkpoint
from fl_bench.federation.journal import Journal, Mark, beside, copy_rounds

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

VALUES: dict[str, Any] = {"round": 0, "client.acc_mean": 0.1 + 0.2, "loss": float("-inf"), "seconds_checkpoint": None}
CLIENTS: list[Any] = [{"round": 0, "client": 1, "model": "mlp\n4", "client.acc": 1e-300}]


def written(path: Path, rounds: int) -> Mark:
    journal = Journal(path)
    for index in range(rounds):
        journal.add({**VALUES, "round": index}, CLIENTS)
        journal.saved(index + 0.5)
    return journal.mark


def test_rounds_come_back_to_the_last_bit_with_the_clock_that_was_known_later(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.rounds"
    mark = written(path, 3)
    assert (mark.rounds, mark.bytes) == (3, path.stat().st_size)
    # The last save was measured when nothing could be added any more.
    expected = [
        ({**VALUES, "round": n, "seconds_checkpoint": seconds}, CLIENTS) for n, seconds in enumerate((0.5, 1.5, None))
    ]
    assert Journal(path).read(mark) == expected
    assert Journal(tmp_path / "none").read(Mark()) == []


def test_what_is_behind_the_mark_is_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "a.rounds"
    mark = written(path, 2)
    whole = path.read_bytes()
    for torn in (b"", b"[", whole, b"\x00" * 5000):
        path.write_bytes(whole + torn)
        journal = Journal(path)
        assert journal.read(mark) is not None
        journal.add({"round": 2}, [])
        assert path.read_bytes() == whole + b'[{"round":2},[],null]\n'
        assert Journal(path).read(journal.mark) is not None


def test_a_journal_that_begins_again_takes_the_place_of_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "a.rounds"
    written(path, 3)
    journal = Journal(path)
    assert journal.read(Mark(1, 5, "no digest")) is None
    journal.add({"round": 0}, [])
    assert path.read_bytes() == b'[{"round":0},[],null]\n'


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_a_byte_that_changed_is_noticed(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged.rounds"
    mark = written(path, 2)
    whole = bytearray(path.read_bytes())
    place = data.draw(st.integers(0, len(whole) - 1))
    whole[place] ^= data.draw(st.integers(1, 255))
    path.write_bytes(whole[: data.draw(st.integers(0, len(whole)))])
    target = path.with_name("copy.rounds")
    target.unlink(missing_ok=True)
    assert Journal(path).read(mark) is None
    assert not copy_rounds(path, target, mark)
    assert not target.exists()


@pytest.mark.parametrize(
    "line", ["", "{}", "[1, [], null]", "[{}, {}, null]", '[{}, [], "1"]', "[{}, []]", "[" * 10**5]
)
def test_what_is_no_round_is_given_up(tmp_path: Path, line: str) -> None:
    path = tmp_path / "a.rounds"
    journal = Journal(path)
    path.write_text(f"{line}\n")
    mark = replace(journal.mark, rounds=1, bytes=path.stat().st_size, sha256=digest_of(path))
    assert journal.read(mark) is None
    path.write_text("[{}, [], null]\n")
    mark = replace(mark, bytes=path.stat().st_size, sha256=digest_of(path))
    assert journal.read(replace(mark, rounds=2)) is None
    assert journal.read(mark) == [({}, [])]


def digest_of(path: Path) -> str:
    import hashlib

    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize(
    "found", [None, 3, {}, {"rounds": 1, "bytes": 2}, {"rounds": -1}, {"bytes": True}, {"bytes": 1.0}]
)
def test_a_mark_that_cannot_be_is_none(found: object) -> None:
    state = {"rounds": {**asdict(Mark()), **found} if isinstance(found, dict) and len(found) == 1 else found}
    assert Mark.of(state) is None
    assert Mark.of({"rounds": asdict(Mark())}) == Mark()


def test_a_file_that_may_not_be_read_is_an_error(tmp_path: Path) -> None:
    # Starting again would overwrite the rounds of a run that only lacks a permission.
    with pytest.raises(StorageError, match="cannot read"):
        Journal(tmp_path).read(Mark(1, 9, ""))


def test_a_disk_that_fills_up_costs_the_round_and_the_next_try_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.rounds"
    mark = written(path, 2)
    journal = Journal(path)
    journal.read(mark)

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(StorageError, match=r"cannot write .*a\.rounds: No space left on device"):
            journal.add({"round": 2}, CLIENTS)
    assert journal.mark == mark
    assert Journal(path).read(mark) is not None
    journal.add({"round": 2}, [])
    assert json.loads(path.read_text().splitlines()[-1]) == [{"round": 2}, [], None]


def test_a_file_that_was_taken_away_or_cut_is_not_gone_on_with(tmp_path: Path) -> None:
    path = tmp_path / "a.rounds"
    mark = written(path, 2)
    journal = Journal(path)
    journal.read(mark)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(StorageError, match=f"it has {mark.bytes - 1} bytes, {mark.bytes} were written"):
        journal.add({}, [])
    path.unlink()
    with pytest.raises(StorageError, match="No such file"):
        journal.add({}, [])
    assert not path.exists()


def left(path: Path, rounds: int) -> None:
    """A checkpoint with its rounds."""
    checkpoint.save(path, {"rounds": asdict(written(beside(path), rounds)), "w": torch.ones(3)})


def test_a_checkpoint_is_taken_over_with_what_belongs_to_it(tmp_path: Path) -> None:
    old, new = tmp_path / "1-a.pt", tmp_path / "2-b.pt"
    left(old, 2)
    state, rounds = old.read_bytes(), beside(old).read_bytes()
    beside(old).write_bytes(rounds + b"torn")
    assert checkpoint.take_over(old, new)
    assert sorted(os.listdir(tmp_path)) == ["2-b.pt", "2-b.rounds"]
    assert (new.read_bytes(), beside(new).read_bytes()) == (state, rounds)


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    "damage",
    [
        lambda old: beside(old).unlink(),
        lambda old: flip(beside(old)),
        lambda old: old.write_bytes(old.read_bytes()[:-1]),
        lambda old: checkpoint.save(old, {"w": torch.ones(3)}),
        lambda old: old.unlink(),
    ],
)
def test_a_checkpoint_that_is_not_whole_is_not_taken_over(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    old, new = tmp_path / "1-a.pt", tmp_path / "2-b.pt"
    left(old, 2)
    damage(old)
    before = sorted(os.listdir(tmp_path))
    assert not checkpoint.take_over(old, new)
    assert sorted(os.listdir(tmp_path)) == before


class Killed(BaseException):
    """The process ends here."""


@pytest.mark.parametrize("call", ["fsync", "replace", "replace twice", "unlink"])
def test_a_kill_while_a_checkpoint_is_taken_over_leaves_one_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    old, new = tmp_path / "1-a.pt", tmp_path / "2-b.pt"
    left(old, 2)
    name, _, twice = call.partition(" ")
    real, calls = getattr(os, name), []

    def kill(*arguments: Any, **keywords: Any) -> Any:
        calls.append(arguments)
        if twice and len(calls) == 1:
            return real(*arguments, **keywords)
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(os, name, kill)
        with pytest.raises(Killed):
            checkpoint.take_over(old, new)
    whole = [path for path in (old, new) if path.exists()]
    assert len(whole) == 1
    assert checkpoint.take_over(whole[0], tmp_path / "3-c.pt")
