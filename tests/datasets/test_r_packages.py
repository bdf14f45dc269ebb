"""Chem97, Shuttle and DNA: R's files are read without R, and nothing but the published tables is taken for them."""

from __future__ import annotations

import bz2
import gzip
import lzma
import struct
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from fuzzing import budget, damaged, guarded
from hypothesis import given
from hypothesis import strategies as st

from fl_bench.datasets.catalogue import available, dataset_info, family_of, load_dataset
from fl_bench.datasets.r_packages import read_database, read_table
from fl_bench.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

rdata = pytest.importorskip("rdata", reason="needs rdata: pip install 'fl-bench[r]'")

FRAME = pd.DataFrame({"V1": [1.5, 2.0, -1.0], "kind": pd.Categorical(["a", "b", "a"])})
LIBRARY = "usr/lib/R/site-library"


def write_table(path: Path, name: str, frame: pd.DataFrame) -> Path:
    """What R's `save` writes: the objects by name, packed with gzip."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rdata.write_rda(path, {name: frame})
    return path


def serialized(path: Path, value: Any) -> bytes:
    rdata.write_rds(path, value)
    return gzip.decompress(path.read_bytes())


def write_database(folder: Path, tables: dict[str, pd.DataFrame]) -> Path:
    """What R makes of a package's data: all objects behind one another, and an index of where each is."""
    folder.mkdir(parents=True, exist_ok=True)
    content, places = b"other objects come first", {}
    for name, frame in tables.items():
        plain = serialized(folder / "one.rds", frame)
        packed = struct.pack(">I", len(plain)) + zlib.compress(plain)
        places[name] = np.array([len(content), len(packed)], dtype=np.int32)
        content += packed
    (folder / "Rdata.rdb").write_bytes(content)
    rdata.write_rds(folder / "Rdata.rdx", {"variables": places, "references": {}, "compressed": True})
    return folder / "Rdata.rdx"


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
def test_a_table_however_it_is_packed(pack: Callable[[bytes], bytes], tmp_path: Path) -> None:
    path = write_table(tmp_path / "T.rda", "T", FRAME)
    path.write_bytes(pack(gzip.decompress(path.read_bytes())))
    found = read_table(path, "T")
    assert found["V1"].tolist() == [1.5, 2.0, -1.0]
    assert found["kind"].tolist() == ["a", "b", "a"]
    with pytest.raises(DataError, match="holds no table U"):
        read_table(path, "U")


def test_a_table_of_a_database(tmp_path: Path) -> None:
    index = write_database(tmp_path, {"A": FRAME.head(1), "T": FRAME})
    assert read_database(index, "T")["V1"].tolist() == [1.5, 2.0, -1.0]
    assert len(read_database(index, "A")) == 1
    with pytest.raises(DataError, match="names no table B"):
        read_database(index, "B")
    (tmp_path / "Rdata.rdb").write_bytes((tmp_path / "Rdata.rdb").read_bytes()[:-30])
    with pytest.raises(DataError, match="cannot be read"):
        read_database(index, "T")
    (tmp_path / "Rdata.rdb").unlink()
    with pytest.raises(DataError, match=r"table T of .* cannot be read"):
        read_database(index, "T")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not packed as R packs its data: it begins with nothing"),
        (b"RDX3\nX\n", "not packed as R packs its data"),
        (gzip.compress(b"x" * 100, mtime=0)[:-9], "cannot be unpacked|cannot be read as R's data"),
        (gzip.compress(b"x" * 100, mtime=0), "cannot be read as R's data"),
        (bz2.compress(bytes(10**6 + 1)), "unpacks to more than 1000000 bytes"),
    ],
)
def test_files_that_r_did_not_write(
    content: bytes, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fl_bench.datasets.r_packages.R_BYTES", 10**6)
    (tmp_path / "T.rda").write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_table(tmp_path / "T.rda", "T")


def test_a_table_that_declares_more_than_the_limit(tmp_path: Path) -> None:
    index = write_database(tmp_path, {"T": FRAME})
    content = bytearray((tmp_path / "Rdata.rdb").read_bytes())
    content[24:28] = b"\xff\xff\xff\xff"
    (tmp_path / "Rdata.rdb").write_bytes(content)
    with pytest.raises(DataError, match="would take 4294967295 bytes"):
        read_database(index, "T")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


@budget(40)
@given(data=st.data())
def test_fuzz_tables_of_r(data: st.DataObject, place: Path) -> None:
    path = write_table(place / "T.rda", "T", FRAME)
    path.write_bytes(gzip.compress(data.draw(damaged(gzip.decompress(path.read_bytes())))))
    index = write_database(place, {"T": FRAME})
    spoilt = data.draw(st.sampled_from([index, index.with_suffix(".rdb")]))
    spoilt.write_bytes(data.draw(damaged(spoilt.read_bytes())))
    for read, file in ((read_table, path), (read_database, index)):
        with guarded(place):
            try:
                read(file, "T")
            except DataError:
                continue


def grades(rows: int) -> pd.DataFrame:
    number = np.arange(rows)
    return pd.DataFrame({
        "lea": pd.Categorical((number % 131 + 1).astype(str)),
        "school": pd.Categorical((number % 2410).astype(str)),
        "score": 2.0 * (number % 6),
        "gender": pd.Categorical(np.where(number % 2, "F", "M")),
        "age": number % 12 - 6.0,
        "gcsescore": number % 7 + 0.5,
        "gcsecnt": number % 7 - 3.0,
    })  # fmt: skip


def test_chem97_has_authorities_as_clients_and_points_as_classes(tmp_path: Path) -> None:
    folder = tmp_path / LIBRARY / "mlmRev" / "data"
    write_database(folder, {"Chem97": grades(31022)})
    assert available("chem97", data_dir=tmp_path) == (True, str(folder / "Rdata.rdx"))
    data = load_dataset("chem97", data_dir=tmp_path)
    facts = dataset_info("chem97")
    assert (data.about.shape, data.train_size, len(data.labels)) == (facts.shape, facts.train, 31022)
    assert data.about.class_names == ("0", "2", "4", "6", "8", "10")
    assert data.natural is not None
    assert sorted(set(data.natural.tolist())) == list(range(1, 132))
    assert ((data.inputs[:, 0] > 0).numpy() == (data.labels % 2 == 1).numpy()).all()  # odd rows: girls, odd classes
    write_database(folder, {"Chem97": grades(100)})
    with pytest.raises(
        DataError, match=r"'chem97' should have 31022 rows and the columns lea, score, gender, .* found 100"
    ):
        load_dataset("chem97", data_dir=tmp_path)


def test_chem97_60_has_the_largest_authorities(tmp_path: Path) -> None:
    folder = tmp_path / LIBRARY / "mlmRev" / "data"
    frame = grades(31022)
    frame["lea"] = pd.Categorical((np.sqrt(np.arange(31022)).astype(int) % 131 + 1).astype(str))
    pupils = frame["lea"].value_counts()
    write_database(folder, {"Chem97": frame})
    data = load_dataset("chem97-60", data_dir=tmp_path)
    assert data.natural is not None
    assert sorted(np.unique(data.natural, return_counts=True)[1].tolist()) == sorted(pupils.iloc[:60])
    assert family_of("chem97-60") == family_of("chem97") == "chem97"


def test_dna_is_bits_and_its_last_column_the_class(tmp_path: Path) -> None:
    number = np.arange(3186)
    bits: dict[str, Any] = {f"V{n}": number >> n % 12 & 1 for n in range(1, 181)}
    bits |= {f"V{n}": pd.Categorical(bits[f"V{n}"].astype(str)) for n in range(1, 9)}  # as R has all of them
    frame = pd.DataFrame(bits | {"Class": pd.Categorical(np.array(["ei", "ie", "n"])[number % 3])})
    write_table(tmp_path / LIBRARY / "mlbench" / "data" / "DNA.rda", "DNA", frame)
    data = load_dataset("dna", data_dir=tmp_path)
    assert (data.about.shape, data.train_size, data.about.class_names) == ((180,), 2549, ("ei", "ie", "n"))
    assert len(data.inputs[:, 0].unique()) == 2


def test_missing_packages_name_the_command(tmp_path: Path) -> None:
    if available("shuttle")[0]:
        pytest.skip("the package is installed")
    command = rf"apt-get download r-cran-mlbench && [\s\S]*dpkg-deb -x .* {tmp_path}"
    with pytest.raises(DataError, match=rf"looked at {tmp_path}/{LIBRARY}/mlbench/data/Shuttle.rda[\s\S]*{command}"):
        load_dataset("shuttle", data_dir=tmp_path)


def test_without_rdata_the_error_says_how_to_install_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_table(tmp_path / "T.rda", "T", FRAME)
    monkeypatch.setitem(__import__("sys").modules, "rdata", None)
    with pytest.raises(DataError, match=r"rdata, which cannot be imported .*: pip install 'fl-bench\[r\]'"):
        read_table(path, "T")
