"""Files are there whole or as they were."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from fl_bench.errors import StorageError
from fl_bench.files import put_at, replacing, write_file

if TYPE_CHECKING:
    from pathlib import Path


def test_a_file_is_written_with_its_folder_and_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.csv"
    write_file(path, "a,b\r\n1,2\n")
    write_file(path, "ü\n")
    assert path.read_bytes() == "ü\n".encode()
    assert os.listdir(path.parent) == ["a.csv"]


def fail(path: Path, error: BaseException) -> None:
    with replacing(path) as temporary:
        temporary.write_text("half")
        raise error


def test_what_fails_halfway_leaves_the_old_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    write_file(path, "old\n")
    with pytest.raises(StorageError) as raised:
        fail(path, OSError(28, "No space left on device"))
    assert str(raised.value) == f"cannot write {path}: No space left on device"
    with pytest.raises(KeyboardInterrupt):
        fail(path, KeyboardInterrupt())
    assert path.read_text() == "old\n"
    assert os.listdir(tmp_path) == ["a.csv"]


def test_the_disk_is_named_behind_what_others_say_of_it(tmp_path: Path) -> None:
    full, other = OSError(28, "No space left on device"), ValueError("by design")
    hidden = RuntimeError("unexpected pos")
    hidden.__context__ = full
    for error in (hidden, chained(full)):
        with pytest.raises(StorageError, match="No space left on device"):
            fail(tmp_path / "a.csv", error)
    hidden.__suppress_context__ = True  # whoever says so says that it is not the cause
    for error in (hidden, chained(other)):
        with pytest.raises(RuntimeError):
            fail(tmp_path / "a.csv", error)


def chained(cause: Exception) -> RuntimeError:
    error = RuntimeError("unexpected pos")
    error.__cause__ = cause
    return error


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    write_file(tmp_path / "a.csv", "old\n")
    (tmp_path / "b.csv").symlink_to("a.csv")
    write_file(tmp_path / "b.csv", "new\n")
    assert (tmp_path / "b.csv").is_symlink()
    assert (tmp_path / "a.csv").read_text() == "new\n"


def test_it_has_reached_the_disk_before_it_replaces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    sync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda descriptor: (calls.append("fsync"), sync(descriptor)))
    monkeypatch.setattr(os, "replace", lambda source, target: (calls.append("replace"), replace(source, target)))
    write_file(tmp_path / "a.csv", "text\n")
    assert calls == ["fsync", "replace"]


def test_bytes_are_put_at_a_place_and_nothing_stays_behind_them(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a"
    put_at(path, b"one\r\n", 0)
    put_at(path, b"two and more\n", 5)
    put_at(path, b"two\n", 5)
    assert path.read_bytes() == b"one\r\ntwo\n"
    put_at(path, b"", 5)
    assert path.read_bytes() == b"one\r\n"


def test_bytes_are_not_put_behind_a_hole_or_into_a_file_that_is_gone(tmp_path: Path) -> None:
    path = tmp_path / "a"
    put_at(path, b"one", 0)
    with pytest.raises(StorageError, match="it has 3 bytes, 4 were written"):
        put_at(path, b"two", 4)
    assert path.read_bytes() == b"one"
    with pytest.raises(StorageError, match="No such file"):
        put_at(tmp_path / "b", b"two", 4)
    assert os.listdir(tmp_path) == ["a"]
