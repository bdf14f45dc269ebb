"""Checkpoints: replaced in one step, read without executing code, and given up when they cannot be read."""

from __future__ import annotations

import errno
import io
import os
import pickle
import sys
from typing import TYPE_CHECKING

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fl_bench.errors import StorageError
from fl_bench.federation import checkpoint

if TYPE_CHECKING:
    from pathlib import Path

CPU = torch.device("cpu")


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    weights = torch.tensor([[1.5, -2.0]], dtype=torch.float64)
    state = {"tree": {"w": weights, "count": torch.tensor([3])}, "names": ["a"], "by": {4: [1, 2]}, "none": None}
    checkpoint.save(path, state)
    loaded = checkpoint.load(path, CPU)
    assert loaded is not None
    assert torch.equal(loaded["tree"]["w"], weights)
    assert loaded["tree"]["w"].dtype == torch.float64
    assert loaded["tree"]["count"].dtype == torch.int64
    assert {key: loaded[key] for key in ("names", "by", "none")} == {"names": ["a"], "by": {4: [1, 2]}, "none": None}
    assert os.listdir(tmp_path) == ["checkpoint.pt"]


def test_none_is_none(tmp_path: Path) -> None:
    assert checkpoint.load(tmp_path / "never written.pt", CPU) is None


class Unpicklable:
    """Fails in the middle of a write, as a full disk would."""

    def __reduce__(self) -> str:
        raise OSError(28, "no space left on device")


def test_a_failing_write_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    checkpoint.save(path, {"round": 1})
    with pytest.raises(StorageError, match="no space left"):
        checkpoint.save(path, {"round": 2, "then": Unpicklable()})
    assert checkpoint.load(path, CPU) == {"round": 1}
    assert os.listdir(tmp_path) == ["checkpoint.pt"]


@pytest.mark.skipif(sys.platform == "win32", reason="no limit of file sizes")
@pytest.mark.parametrize("room", [0, 1, 300, 1000, 4096, 20_000, 39_000, 40_500])
def test_a_disk_that_is_full_anywhere_in_the_file_is_said_to_be(tmp_path: Path, room: int) -> None:
    # torch hides what the system says behind `RuntimeError: ... unexpected pos 896 vs 790`, but at a file's ends.
    import resource

    path = tmp_path / "checkpoint.pt"
    checkpoint.save(path, {"round": 1})
    state = {"weights": torch.randn(10_000), "more": torch.randn(10)}
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
    try:
        with pytest.raises(StorageError, match="File too large"):
            checkpoint.save(path, state)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert checkpoint.load(path, CPU) == {"round": 1}
    assert os.listdir(tmp_path) == ["checkpoint.pt"]
    checkpoint.save(path, state)
    assert path.stat().st_size > 40_500  # the whole of it would not have fitted anywhere


def test_what_cannot_be_saved_is_no_fault_of_the_disk(tmp_path: Path) -> None:
    with pytest.raises(AttributeError, match="pickle"):
        checkpoint.save(tmp_path / "checkpoint.pt", {"hook": lambda: None})
    assert os.listdir(tmp_path) == []


def test_a_crash_before_the_replacement_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "checkpoint.pt"
    checkpoint.save(path, {"round": 1})

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        checkpoint.save(path, {"round": 2})
    assert checkpoint.load(path, CPU) == {"round": 1}
    assert os.listdir(tmp_path) == ["checkpoint.pt"]


def test_bytes_reach_the_disk_before_the_name_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    sync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda descriptor: (calls.append("fsync"), sync(descriptor)))
    monkeypatch.setattr(os, "replace", lambda source, target: (calls.append("replace"), replace(source, target)))
    checkpoint.save(tmp_path / "checkpoint.pt", {"round": 1})
    assert calls == ["fsync", "replace"]


class Bomb:
    """Writes a file when a careless reader unpickles it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return (open, (str(self.path), "w"))


@pytest.mark.parametrize("writer", ["torch", "pickle"])
def test_pickled_code_is_not_executed(tmp_path: Path, writer: str) -> None:
    path, trace = tmp_path / "checkpoint.pt", tmp_path / "trace"
    state = {"bomb": Bomb(trace)}
    if writer == "torch":
        torch.save(state, path)
    else:
        path.write_bytes(pickle.dumps(state))
    assert checkpoint.load(path, CPU) is None
    assert not trace.exists()


@pytest.mark.parametrize("state", [[1, 2], torch.ones(2)], ids=lambda state: str(state))
def test_what_is_not_our_format_is_not_read(tmp_path: Path, state: object) -> None:
    torch.save(state, tmp_path / "checkpoint.pt")
    assert checkpoint.load(tmp_path / "checkpoint.pt", CPU) is None


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("whole") / "checkpoint.pt"
    checkpoint.save(path, {"tree": {"w": torch.arange(20.0)}, "names": ["a", "b"], "round": 3})
    return path.read_bytes()


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_a_file_cut_short_is_given_up(
    whole: bytes, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.getbasetemp() / "cut.pt"
    path.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
    assert checkpoint.load(path, CPU) is None


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_a_damaged_file_is_given_up(
    whole: bytes, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    damaged = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "damaged.pt"
    path.write_bytes(damaged)
    loaded = checkpoint.load(path, CPU)
    if loaded is not None:  # only padding was hit
        assert torch.equal(loaded.pop("tree")["w"], torch.arange(20.0))
        assert loaded == {"names": ["a", "b"], "round": 3}


def test_a_changed_weight_is_noticed(whole: bytes, tmp_path: Path) -> None:
    stored = torch.arange(20.0).numpy().tobytes()
    assert whole.count(stored) == 1
    (tmp_path / "changed.pt").write_bytes(whole.replace(stored, stored[:-1] + b"\x7f"))
    assert checkpoint.load(tmp_path / "changed.pt", CPU) is None


def test_a_file_that_may_not_be_read_is_an_error(tmp_path: Path) -> None:
    # Starting again would overwrite the rounds of a run that only lacks a permission.
    with pytest.raises(StorageError, match="directory"):
        checkpoint.load(tmp_path, CPU)


class Erring(io.BytesIO):
    """A file on a disk that fails."""

    def read(self, *_: object) -> bytes:
        raise OSError(errno.EIO, "Input/output error")


def test_a_disk_that_fails_while_it_is_read_is_an_error(
    tmp_path: Path, whole: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The next attempt may be able to read it; whoever took it for damaged would start again, or remove it.
    monkeypatch.setattr(type(tmp_path), "open", lambda *_: Erring(whole))
    with pytest.raises(StorageError, match="Input/output error"):
        checkpoint.load(tmp_path / "checkpoint.pt", CPU)


@settings(deadline=None)
@given(junk=st.binary(max_size=200))
def test_any_other_file_is_given_up(tmp_path_factory: pytest.TempPathFactory, junk: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "junk.pt"
    path.write_bytes(junk)
    assert checkpoint.load(path, CPU) is None
