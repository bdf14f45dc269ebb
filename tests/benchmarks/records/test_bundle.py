"""Bundles: records as one file that reads like their folder, always the same bytes, and nothing in it is trusted."""

from __future__ import annotations

import errno
import io
import lzma
import os
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fl_bench.benchmarks.commands.cli import run_command
from fl_bench.benchmarks.grid.cell import Cell
from fl_bench.benchmarks.leaderboard.files import files
from fl_bench.benchmarks.records import bundle as module
from fl_bench.benchmarks.records.bundle import read_bundle, write_bundle
from fl_bench.benchmarks.records.record import Outcome, RecordError
from fl_bench.benchmarks.records.store import Store
from fl_bench.benchmarks.records.texts import FILES
from fl_bench.errors import DataError, StorageError

MakeCell = Callable[..., Cell]
MakeOutcome = Callable[..., Outcome]
Snapshot = Callable[[Path], dict[str, bytes]]

TEXTS = {"digits/local-0-0123456789": {"run.json": '{"ä": 1}\n', "rounds.csv": "round\n0\n", "clients.csv": "round\n"}}


@pytest.fixture
def filled(store: Store, cell_of: MakeCell, outcome: MakeOutcome) -> Store:
    """Two methods on two seeds, one run of which failed."""
    for seed in (0, 1):
        store.write(cell_of("local", seed), outcome({"client": [40.0, 50.0 + seed]}))
    store.write(cell_of("fedmd", 0), outcome({"client": [40.0, 60.0]}))
    store.write(cell_of("fedmd", 1), outcome(status="failed", reason="boom"))
    return store


def texts_of(store: Store) -> dict[str, dict[str, str]]:
    return {record.name: dict(record.texts()) for record in store.records()}


def tar(path: Path, *members: tuple[str, bytes], kind: bytes = tarfile.REGTYPE) -> Path:
    with tarfile.open(path, "w:xz") as archive:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.type, member.size, member.linkname = kind, len(content), "/etc/passwd"
            archive.addfile(member, io.BytesIO(content) if kind == tarfile.REGTYPE else None)
    return path


def test_what_is_written_reads_back_with_the_same_bytes(tmp_path: Path) -> None:
    texts = {**TEXTS, "a/b-1-0": dict.fromkeys(FILES, "x\r\ny")}
    write_bundle(tmp_path / "one.tar.xz", texts)
    write_bundle(tmp_path / "two.tar.xz", dict(reversed(texts.items())))
    assert (tmp_path / "one.tar.xz").read_bytes() == (tmp_path / "two.tar.xz").read_bytes()
    assert read_bundle(tmp_path / "one.tar.xz") == texts
    assert list(read_bundle(tmp_path / "one.tar.xz")) == sorted(texts)
    with tarfile.open(tmp_path / "one.tar.xz") as archive:  # any tar reads it
        assert archive.getnames()[0] == "runs/a/b-1-0/run.json"


def test_packing_and_unpacking_change_no_byte(filled: Store, snapshot: Snapshot) -> None:
    before = snapshot(filled.runs)
    boards = files(filled.records())
    assert run_command(["pack", str(filled.results), "--remove"]) == 0
    assert snapshot(filled.runs) == {}
    packed = filled.bundle.read_bytes()
    for place in (filled.results, filled.bundle):  # the folder that holds the bundle, and the bundle by itself
        assert files(Store(place).records()) == boards
        assert len(Store(place).names()) == 4
    assert run_command(["unpack", str(filled.results)]) == 0
    assert snapshot(filled.runs) == before
    assert run_command(["pack", str(filled.results)]) == 0
    assert filled.bundle.read_bytes() == packed
    assert files(Store(filled.results).records()) == boards  # each record once, though it is there twice


def test_a_grid_goes_on_from_a_bundle(filled: Store, cell_of: MakeCell, outcome: MakeOutcome) -> None:
    assert run_command(["pack", str(filled.results), "--remove"]) == 0
    store = Store(filled.results)
    record = store.find(cell_of("fedmd[label=other]", 0))
    assert record is not None
    assert [row["client.acc_mean"] for row in record.rounds] == [40.0, 60.0]
    assert store.find(cell_of("fedmd", 2)) is None
    with pytest.raises(RecordError, match=r"records\.tar\.xz/digits/fedmd-0-.* is finished \(done\)"):
        store.write(cell_of("fedmd", 0), outcome({"client": [1.0]}), replace=True)
    # A failed run that is run again, even under another label, takes the place of the one in the bundle.
    store.write(cell_of("fedmd[label=again]", 1), outcome({"client": [40.0, 70.0]}), replace=True)
    assert [(record.label, record.status) for record in store.records()] == [
        ("again", "done"),
        ("fedmd", "done"),
        ("local", "done"),
        ("local", "done"),
    ]
    assert run_command(["pack", str(filled.results)]) == 0
    assert [record.label for record in Store(store.bundle).records()] == ["again", "fedmd", "local", "local"]


def test_unpacking_overwrites_nothing(filled: Store) -> None:
    assert run_command(["pack", str(filled.results)]) == 0
    path = filled.folders()[0] / "run.json"
    path.write_text(path.read_text() + "\n")
    with pytest.raises(DataError, match="is another record than the one in"):
        Store(filled.results).unpack()


@pytest.mark.parametrize(
    ("members", "kind", "message"),
    [
        ([("../outside", b"")], tarfile.REGTYPE, r"holds '\.\./outside', which is no file of a record"),
        ([("runs/a/../run.json", b"")], tarfile.REGTYPE, "which is no file of a record"),
        ([("runs/a/b/c/run.json", b"")], tarfile.REGTYPE, "which is no file of a record"),
        ([("runs/a/b/model.pt", b"")], tarfile.REGTYPE, "which is no file of a record"),
        ([("runs/a/b/run.json", b"")], tarfile.SYMTYPE, "which is no file of a record"),
        ([("runs/a/b/run.json", b"\xff")], tarfile.REGTYPE, "cannot be read"),
        ([("runs/a/b/run.json", b"{}")], tarfile.REGTYPE, r"lacks rounds\.csv, clients\.csv of a/b"),
    ],
)
def test_what_is_no_record_is_refused(tmp_path: Path, members: Any, kind: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_bundle(tar(tmp_path / "bad.tar.xz", *members, kind=kind))


def test_damage_is_said(tmp_path: Path, filled: Store) -> None:
    path = tmp_path / "x.tar.xz"
    write_bundle(path, texts_of(filled))
    content = path.read_bytes()
    for damaged in (b"", b"no archive", content[: len(content) // 2], content[:200] + b"\0" + content[201:]):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match=r"x\.tar\.xz cannot be read .*; restore it"):
            read_bundle(path)
    garbled = {name: {**texts, "run.json": "{}"} for name, texts in texts_of(filled).items()}
    write_bundle(path, garbled)
    with pytest.raises(DataError, match=r"x\.tar\.xz/digits/fedmd-0-\w+/run\.json does not say its format"):
        Store(path).records()


def test_a_full_disk_leaves_the_bundle_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.tar.xz"
    write_bundle(path, TEXTS)
    before = path.read_bytes()

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="No space left on device"):
        write_bundle(path, {})
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["x.tar.xz"]


def test_commands_read_a_bundle_like_a_folder(
    filled: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)

    def said(*arguments: str) -> str:
        assert run_command(list(arguments)) == 0
        return capsys.readouterr().out

    asked = [
        ("leaderboard", "results", "--json"),
        ("show", "fedmd-0", "results"),
        ("compare", "results", "--on-missing", "complete-blocks", "--format", "json"),
    ]
    before = [said(*arguments) for arguments in asked]
    assert run_command(["pack", "results", "--remove"]) == 0
    assert [said(*arguments) for arguments in asked] == before
    alone = [[word.replace("results", "results/records.tar.xz") for word in arguments] for arguments in asked]
    assert [said(*arguments) for arguments in alone] == before
    said("leaderboard", "results", "--check")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["pack", "nowhere"], "nowhere has no records; `fl-bench run --out nowhere` makes some"),
        (["pack", "results", "--out", "x.zip"], "the name of a bundle ends in .tar.xz"),
        (["pack", "results", "--out", "x.tar.xz", "--remove"], "leave out --out"),
        (["unpack", "results"], "there is no bundle results/records.tar.xz; `fl-bench pack` makes one"),
        (["compare", "x.tar.xz"], "there is no bundle x.tar.xz"),
        (["compare", "."], "there are records in results"),
    ],
)
def test_mistakes_are_explained(
    filled: Store,
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run_command(arguments) == 2
    assert message in capsys.readouterr().err


def test_a_member_twice_is_refused(tmp_path: Path) -> None:
    member = ("runs/a/b-0-1/run.json", b"{}")
    with pytest.raises(DataError, match=r"holds runs/a/b-0-1/run\.json twice"):
        read_bundle(tar(tmp_path / "x.tar.xz", member, member))


@pytest.mark.parametrize(
    "name", ["runs/a/..\\x/run.json", "runs/C:/b/run.json", "runs/a/b\n/run.json", "runs/a/_b/run.json"]
)
def test_names_that_another_system_reads_otherwise_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match="which is no file of a record"):
        read_bundle(tar(tmp_path / "x.tar.xz", (name, b"")))


def tar_of(name: str, size: int, kind: bytes = tarfile.REGTYPE) -> bytes:
    """The header of a member that says a size."""
    member = tarfile.TarInfo(name)
    member.size, member.type = size, kind
    return member.tobuf(tarfile.GNU_FORMAT)


def test_what_unpacks_to_more_than_memory_is_for_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.tar.xz"
    write_bundle(path, {name: {**files, "clients.csv": "0" * 3_000_000} for name, files in TEXTS.items()})
    assert path.stat().st_size < 10_000
    assert len(read_bundle(path)) == 1
    monkeypatch.setattr(module, "BUNDLE_BYTES", 2_000_000)
    with pytest.raises(DataError, match="unpacks to more than 2000000 bytes"):
        read_bundle(path)
    # A header that promises more than there is, and a long name, which tar readers take into memory.
    path.write_bytes(lzma.compress(tar_of("runs/a/b-0-1/clients.csv", size=2**40)))
    with pytest.raises(DataError, match="more than any record's"):
        read_bundle(path)
    path.write_bytes(lzma.compress(tar_of("x", size=2**33, kind=tarfile.XHDTYPE) + b"1" * 4_000_000))
    with pytest.raises(DataError, match="unpacks to more than 2000000 bytes"):
        read_bundle(path)


def test_an_xz_file_that_asks_for_much_memory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_bundle(tmp_path / "x.tar.xz", TEXTS)
    monkeypatch.setattr(module, "BUNDLE_MEMORY", 2**20)
    with pytest.raises(DataError, match="needs more than 1048576 to unpack"):
        read_bundle(tmp_path / "x.tar.xz")


def test_an_xz_file_of_several_streams_is_read_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "x.tar.xz"
    write_bundle(path, TEXTS)
    whole = lzma.decompress(path.read_bytes())
    path.write_bytes(lzma.compress(whole[:700]) + lzma.compress(whole[700:]) + bytes(8))
    assert read_bundle(path) == TEXTS
    path.write_bytes(path.read_bytes()[:-8] + b"rest")
    with pytest.raises(DataError, match="cannot be read"):
        read_bundle(path)


def test_a_record_that_its_name_contradicts_is_not_unpacked(
    filled: Store, capsys: pytest.CaptureFixture[str], snapshot: Snapshot
) -> None:
    texts = {name.replace("fedmd-0-", "fedmd-5-"): files for name, files in texts_of(filled).items()}
    write_bundle(filled.bundle, texts)
    before = snapshot(filled.runs)
    assert run_command(["unpack", str(filled.results)]) == 1
    assert "holds the record of digits, seed 0" in capsys.readouterr().err
    assert snapshot(filled.runs) == before
