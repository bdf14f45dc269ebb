"""Data files that declare more than they hold, or more than memory does, and pictures that are none."""

from __future__ import annotations

import gzip
import io
import os
import struct
import zipfile
import zlib
from typing import TYPE_CHECKING

import numpy as np
import pytest
from picture_files import idx, write_tiny_imagenet

from fl_bench.datasets.catalogue import load_dataset
from fl_bench.datasets.images import read_images
from fl_bench.datasets.tables import read_npz
from fl_bench.datasets.vision import read_idx
from fl_bench.errors import ConfigError, DataError
from fl_bench.limits import ARRAY_HEADER, memory_bytes

if TYPE_CHECKING:
    from pathlib import Path


def npy(shape: str, content: bytes = b"", dtype: str = "<f8", version: int = 1, padding: int = 0) -> bytes:
    """An array file whose header says `shape`, whatever it holds."""
    header = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}{' ' * padding}\n".encode()
    length = struct.pack("<H" if version == 1 else "<I", len(header))
    return b"\x93NUMPY" + bytes([version, 0]) + length + header + content


@pytest.mark.parametrize(
    ("member", "message"),
    [
        (npy("(1000000000000,)"), "does not hold"),
        (npy("(2, 3)", bytes(40)), "does not hold"),
        (npy("(-1,)"), "does not hold"),
        (npy("(99999999999, 99999999999, 99999999999)"), "does not hold"),
        (npy("(2,)", bytes(16), dtype="|O"), "does not hold"),
        (npy("(2,)", bytes(16), version=3), "format version"),
        (npy("(2,)", bytes(16), version=2, padding=2 * ARRAY_HEADER), "array header"),
        (npy("__import__('os').getcwd()", bytes(16)), "cannot be read"),
        (b"raw bytes", "cannot be read"),
    ],
)
def test_an_array_that_is_not_what_it_declares(member: bytes, message: str, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", member)
    with pytest.raises(DataError, match=message):
        read_npz(tmp_path / "a.npz")


def bomb(path: Path, gigabytes: int) -> None:
    """An archive that declares and confirms so much, without holding it: its directory lies."""
    size = gigabytes * 2**30
    header = npy(f"({size // 8},)")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("x.npy", header)
        archive.infolist()[0].file_size = len(header) + size  # what the directory will say


def test_arrays_beyond_memory_are_refused_unread(tmp_path: Path) -> None:
    there = memory_bytes() or 2**40
    bomb(tmp_path / "a.npz", gigabytes=there // 2**30)
    with pytest.raises(DataError, match=r"a\.npz unpacked would take .* GiB of memory; .* half of it, may be data"):
        read_npz(tmp_path / "a.npz")


def test_what_fits_is_read_as_numpy_reads_it(tmp_path: Path) -> None:
    arrays = {"x": np.arange(6.0).reshape(2, 3), "y": np.array(["a", "bb"]), "f": np.ones((2, 2), order="F")}
    for write in (np.savez, np.savez_compressed):
        write(tmp_path / "a.npz", **arrays)
        found = read_npz(tmp_path / "a.npz")
        assert found.keys() == arrays.keys()
        assert all(np.array_equal(found[name], arrays[name]) for name in arrays)


def png(width: int, height: int) -> bytes:
    """The beginning of a picture of that size; one row's worth of pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(64))) + chunk(b"IEND", b"")


@pytest.mark.parametrize("side", [9000, 12000, 60000])  # Pillow says nothing, warns, refuses
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_picture_of_too_many_pixels_is_not_decoded(side: int, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.png").write_bytes(png(side, side))
    with pytest.raises(DataError, match=r"is not a readable picture: .*pixels"):
        load_dataset(f"folder:{tmp_path}")
    with pytest.raises(DataError, match=r"is not a readable picture: .*pixels"):
        read_images([tmp_path / "a" / "x.png"], (8, 8), "L")


def test_pictures_beyond_memory_are_refused_undecoded(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(png(8000, 8000))
    with pytest.raises(DataError, match=r"pictures of 8000x8000 would take .* \?size=32, would do"):
        read_images([tmp_path / "x.png"] * 10**6, (8000, 8000), "RGB")


def test_no_picture_starts_a_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started = []
    monkeypatch.setattr("subprocess.Popen", lambda *arguments, **_: started.append(arguments))
    monkeypatch.setattr("subprocess.check_call", lambda *arguments, **_: started.append(arguments))
    (tmp_path / "x.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n")
    with pytest.raises(DataError, match="is not a readable picture"):
        read_images([tmp_path / "x.png"], (8, 8), "L")
    assert started == []


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
def test_a_pipe_is_no_picture(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.png")
    with pytest.raises(DataError, match="is no file"):
        read_images([tmp_path / "x.png"], (8, 8), "L")


@pytest.mark.parametrize("name", ["../../wnids.txt", "/etc/hostname", "", "a/b.JPEG"])
def test_labels_name_no_files_elsewhere(name: str, tmp_path: Path) -> None:
    folder = write_tiny_imagenet(tmp_path, 2, (2, 1))
    annotations = folder / "val" / "val_annotations.txt"
    annotations.write_text(annotations.read_text() + f"{name}\tn00000000\n")
    with pytest.raises(DataError, match=r"line 3: .* is not the name of a file in val/images"):
        load_dataset("tinyimagenet", data_dir=tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (struct.pack(">HBB3I", 0, 8, 3, *[2**32 - 1] * 3), "would take"),
        (b"\x00\x00\x08\xff" + b"\x00\x00\x00\x01" * 255 + b"x", "not an IDX file"),
        (idx(np.zeros((2, 3), np.uint8))[:-1], "it holds 5 bytes"),
        (idx(np.zeros((2, 3), np.uint8)) + bytes(10**7), "it holds more"),
        (b"\x00", "is not a readable IDX file"),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_idx_files_that_are_not_what_they_declare(content: bytes, message: str, packed: bool, tmp_path: Path) -> None:
    path = tmp_path / f"images{'.gz' if packed else ''}"
    path.write_bytes(gzip.compress(content) if packed else content)
    with pytest.raises(DataError, match=message):
        read_idx(path)


def test_a_damaged_gzip_file_is_named(tmp_path: Path) -> None:
    whole = bytearray(gzip.compress(idx(np.arange(200, dtype=np.uint8))))
    whole[12] ^= 0xFF
    (tmp_path / "images.gz").write_bytes(whole)
    with pytest.raises(DataError, match=r"images\.gz is not"):
        read_idx(tmp_path / "images.gz")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,kind\n1,2,x\n3,4,y\n", "cannot be read as a comma-separated table: Length"),
        ("a,kind\n" + "1e308,x\n-1e308,y\n" * 3, r"at most 1e\+100 in size, found .*1e\+308"),
        (f"{'a' * 200_000},kind\n1,x\n2,y\n", r"headings of .* cannot be read"),
    ],
)
def test_tables_that_cannot_be_meant(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises((ConfigError, DataError), match=message):
        load_dataset(f"csv:{tmp_path / 't.csv'}?target=kind")


def test_clients_of_arrays_are_whole_numbers_or_text(tmp_path: Path) -> None:
    rows = {"x": np.arange(40.0).reshape(20, 2), "y": np.array([0, 1] * 10)}
    for client in (np.ones((20, 2), int), np.array(3), np.ones(20)):
        np.savez(tmp_path / "a.npz", **rows, client=client)
        with pytest.raises(DataError, match="clients must be whole numbers or text"):
            load_dataset(f"npz:{tmp_path / 'a.npz'}")


def test_features_that_float32_cannot_hold(tmp_path: Path) -> None:
    table = np.zeros((4, 1))
    table[0], table[-1] = 1e-50, 1e90
    labels = np.array([0, 1, 0, 1])
    content = {"x_train": table[:2], "y_train": labels[:2], "x_test": table[2:], "y_test": labels[2:]}
    with io.BytesIO() as file:
        np.savez(file, **content)
        (tmp_path / "a.npz").write_bytes(file.getvalue())
    with pytest.raises(DataError, match="differ too much between training and test rows"):
        load_dataset(f"npz:{tmp_path / 'a.npz'}")
