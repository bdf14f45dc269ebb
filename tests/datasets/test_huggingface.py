"""Hugging Face data sets saved to disk, and the partitions that flwr-datasets writes."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from PIL import Image
from saved_tables import save_splits, save_to_disk, value

from fl_bench.datasets.catalogue import available, check_dataset_name, file_digest, load_dataset, natural_clients
from fl_bench.errors import ConfigError, DataError

if TYPE_CHECKING:
    from pathlib import Path

pa = pytest.importorskip("pyarrow", reason="needs pyarrow: pip install 'fl-bench[hf]'")

LABEL = {"names": ["dog", "cat"], "_type": "ClassLabel"}
PICTURE_FEATURES = {"image": {"_type": "Image"}, "label": LABEL, "writer": value("string")}


def png(shade: int, side: int = 4) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (side, side), (shade, 0, 0)).save(file, "PNG")
    return file.getvalue()


def pictures(rows: int, **columns: Any) -> Any:
    content: dict[str, Any] = {
        "image": pa.array(
            [{"bytes": png(10 * (n % 2 + 1)), "path": None} for n in range(rows)],
            pa.struct({"bytes": pa.binary(), "path": pa.string()}),
        ),
        "label": pa.array([n % 2 for n in range(rows)], pa.int64()),
        "writer": pa.array([f"w{n % 3}" for n in range(rows)]),
    }
    return pa.table(content | columns)


def numbers(rows: int) -> Any:
    return pa.table(
        {"a": [float(n) for n in range(rows)], "b": [n % 5 for n in range(rows)], "y": [n % 2 for n in range(rows)]}
    )


NUMBER_FEATURES = {"a": value("float64"), "b": value("int64"), "y": value("int64")}


def test_a_dataset_dict_of_pictures(tmp_path: Path) -> None:
    folder = save_splits(
        tmp_path / "d", {"test": pictures(4), "train": pictures(10), "extra": pictures(2)}, PICTURE_FEATURES
    )
    data = load_dataset(f"hf:{folder}")
    assert (data.train_size, len(data.labels)) == (10, 14)
    assert (data.about.shape, data.about.class_names) == (
        (3, 4, 4),
        ("dog", "cat"),
    )  # the file's order, not the alphabet's
    assert data.inputs[:, 0, 0, 0].tolist() == [10, 20] * 7
    assert data.labels.tolist() == [0, 1] * 7
    assert data.natural is None
    assert natural_clients(f"hf:{folder}") is None
    assert natural_clients(f"hf:{folder}?client=writer") == 3
    with_clients = load_dataset(f"hf:{folder}?client=writer&size=8")
    assert with_clients.about.shape == (3, 8, 8)
    assert with_clients.natural is not None
    assert with_clients.natural.tolist() == [n % 3 for n in range(10)] + [0, 1, 2, 0]
    assert available(f"hf:{folder}") == (True, str(folder))


def test_partitions_of_flwr_datasets_are_clients_by_number(tmp_path: Path) -> None:
    whole = numbers(33)
    for number in range(11):  # partition_10 comes after partition_2
        save_to_disk(tmp_path / f"partition_{number}", whole.slice(3 * number, 3), NUMBER_FEATURES)
    (tmp_path / "notes").mkdir()
    assert natural_clients(f"hf:{tmp_path}?target=y") == 11
    data = load_dataset(f"hf:{tmp_path}?target=y")
    assert (data.train_size, data.about.shape) == (26, (2,))
    assert data.natural is not None
    row = ((data.inputs[:, 0] - data.inputs[:, 0].min()) / data.inputs[:, 0].sort().values.diff().median()).round()
    assert (row // 3).tolist() == data.natural.tolist()


def test_partitions_with_test_rows_of_their_own(tmp_path: Path) -> None:
    for number in range(3):
        splits = {"train": numbers(6), "test": numbers(2)}
        save_splits(tmp_path / f"partition_{number}", splits, NUMBER_FEATURES)
    data = load_dataset(f"hf:{tmp_path}?target=y")
    assert (data.train_size, len(data.labels)) == (18, 24)
    assert data.natural is not None
    assert data.natural.tolist() == [0] * 6 + [1] * 6 + [2] * 6 + [0, 0, 1, 1, 2, 2]


def test_a_dataset_in_several_files_with_columns_of_every_kind(tmp_path: Path) -> None:
    table = pa.table({
        "size": pa.array([None, *map(float, range(29))]),
        "colour": pa.array(["red", "blue", None] * 10).dictionary_encode(),
        "vector": pa.array([[n, 2 * n] for n in range(30)], pa.list_(pa.int32(), 2)),
        "flag": pa.array([True, False] * 15),
        "kind": pa.array(["x", "y"] * 15),
    })  # fmt: skip
    save_to_disk(tmp_path / "d", table, {name: value("string") for name in table.column_names}, shards=4)
    data = load_dataset(f"hf:{tmp_path / 'd'}?target=kind")
    assert data.about.shape == (6,)  # size, blue, red, two of the vector, flag
    assert data.about.class_names == ("x", "y")
    assert not data.inputs.isnan().any()
    assert torch.allclose(data.inputs[:, 3], data.inputs[:, 4], atol=1e-5)
    assert ((data.inputs[:, 5] > 0) == (data.labels == 0)).all()


def test_lists_in_lists_are_pictures(tmp_path: Path) -> None:
    grey = np.random.Generator(np.random.Philox(2)).integers(0, 256, (10, 3, 5), dtype=np.uint8)
    kind = pa.list_(pa.list_(pa.uint8()))
    table = pa.table({"img": pa.array(grey.tolist(), kind), "label": [0, 1] * 5, "id": [f"{n}" for n in range(10)]})
    save_to_disk(tmp_path / "d", table, {"label": LABEL})
    data = load_dataset(f"hf:{tmp_path / 'd'}?input=img")
    assert (data.about.shape, data.inputs.dtype) == ((1, 3, 5), torch.uint8)
    assert {tuple(row.flatten().tolist()) for row in data.inputs} == {
        tuple(row.ravel()) for row in grey.tolist() for row in [np.array(row)]
    }
    with pytest.raises(DataError, match="lists in lists beside other columns: name the inputs with &input=COLUMN"):
        load_dataset(f"hf:{tmp_path / 'd'}")


def test_the_digest_follows_names_and_sizes(tmp_path: Path) -> None:
    folder = save_to_disk(tmp_path / "d", numbers(30), NUMBER_FEATURES)
    before = file_digest(f"hf:{folder}?target=y")
    (folder / "dataset_info.json").write_text((folder / "dataset_info.json").read_text() + " ")
    assert before != file_digest(f"hf:{folder}?target=y")


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("", "does not say which column is the class: hf:FOLDER\\?target=COLUMN \\(columns: 'a', 'b', 'y'\\)"),
        ("?target=z", "no column of .* is named 'z'"),
        ("?target=y&client=z", "no column of .* is named 'z'"),
        ("?target=y&input=z", "no column of .* is named 'z'"),
        ("?traget=y", "no option of hf: is named 'traget'; did you mean 'target'"),
        ("?target=y&size=0", "size must be a whole number from 1 to 1024"),
    ],
)
def test_bad_options_are_refused(query: str, message: str, tmp_path: Path) -> None:
    save_to_disk(tmp_path / "d", numbers(30), NUMBER_FEATURES)
    with pytest.raises(ConfigError, match=message):
        load_dataset(f"hf:{tmp_path / 'd'}{query}")


def test_a_folder_of_another_kind_is_refused_early(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"holds none of state.json, dataset_dict.json and partition_0"):
        check_dataset_name(f"hf:{tmp_path}")
    with pytest.raises(ConfigError, match="there is no folder"):
        check_dataset_name(f"hf:{tmp_path / 'nowhere'}")


def replaced(path: Path, key: str, content: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: content}))


@pytest.mark.parametrize(
    ("key", "content", "message"),
    [
        ("_data_files", None, "should list the files beside it as _data_files, found None"),
        ("_data_files", [], "should list the files"),
        ("_data_files", ["data.arrow"], "should list the files"),
        ("_data_files", [{"filename": "../data-00000-of-00001.arrow"}], "should list the files"),
        ("_data_files", [{"filename": "/etc/hostname"}], "should list the files"),
        ("_data_files", [{"filename": "gone.arrow"}], "lists 'gone.arrow', which is not there"),
        ("_data_files", [{"filename": "dataset_info.json"}], "is not a readable Arrow stream"),
    ],
)
def test_a_list_of_files_that_cannot_be_meant(key: str, content: object, message: str, tmp_path: Path) -> None:
    folder = save_to_disk(tmp_path / "d", numbers(30), NUMBER_FEATURES)
    replaced(folder / "state.json", key, content)
    with pytest.raises(DataError, match=message):
        load_dataset(f"hf:{folder}?target=y")


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        ("image", [{"bytes": None, "path": "/etc/hostname"}] * 10, "are not in the table itself"),
        ("image", [{"bytes": b"no picture", "path": None}] * 10, "is not a readable picture"),
        ("image", ["a.png"] * 10, "are not in the table itself"),
        ("label", [-1, 0] * 5, "has 5 rows without a class"),
        ("label", [None, 0] * 5, "has 5 rows without a class"),
        ("label", [7, 0] * 5, r"must be in \[0, 2\)"),
        ("extra", [{"a": 1}] * 10, None),
    ],
)
def test_columns_that_cannot_be_read(column: str, values: list[Any], message: str | None, tmp_path: Path) -> None:
    folder = save_to_disk(tmp_path / "d", pictures(10, **{column: pa.array(values)}), PICTURE_FEATURES)
    if message is None:  # what is not asked for does not matter
        assert load_dataset(f"hf:{folder}").about.shape == (3, 4, 4)
        with pytest.raises(DataError, match=r"column 'extra' of .* holds struct"):
            load_dataset(f"hf:{folder}?input=extra")
    else:
        with pytest.raises(DataError, match=message):
            load_dataset(f"hf:{folder}")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([[1, 2], [1]] * 15, r"differ in length: \['1', '2'\]"),
        ([[1, 2], None] * 15, "differ in length"),
        (pa.array([None] * 30, pa.list_(pa.int64())), r"differ in length: \['None'\]"),
        ([[1, None]] * 30, "should hold numbers"),
        ([["a"]] * 30, "should hold numbers"),
    ],
)
def test_lists_that_are_no_table(values: list[Any], message: str, tmp_path: Path) -> None:
    save_to_disk(tmp_path / "d", numbers(30).append_column("v", pa.array(values)), NUMBER_FEATURES)
    with pytest.raises(DataError, match=message):
        load_dataset(f"hf:{tmp_path / 'd'}?target=y")


def test_a_stream_that_refers_to_nothing_is_refused(tmp_path: Path) -> None:
    colours = pa.DictionaryArray.from_arrays(pa.array([0, 99] * 15), pa.array(["red"]), safe=False)
    save_to_disk(tmp_path / "d", numbers(30).append_column("colour", colours), NUMBER_FEATURES)
    with pytest.raises(DataError, match="is not a readable Arrow stream"):
        load_dataset(f"hf:{tmp_path / 'd'}?target=y")


def test_parts_with_other_columns_are_refused(tmp_path: Path) -> None:
    save_splits(tmp_path / "d", {"train": numbers(20), "test": numbers(5).select(["a", "y"])}, NUMBER_FEATURES)
    with pytest.raises(DataError, match="has other columns than"):
        load_dataset(f"hf:{tmp_path / 'd'}?target=y")


def test_without_pyarrow_the_error_says_how_to_install_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = save_to_disk(tmp_path / "d", numbers(30), NUMBER_FEATURES)
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(DataError, match=r"pyarrow, which cannot be imported .*: pip install 'fl-bench\[hf\]'"):
        load_dataset(f"hf:{folder}?target=y")
