"""The user's own arrays, tables and pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from PIL import Image

from fl_bench.datasets.catalogue import available, check_dataset_name, file_digest, load_dataset
from fl_bench.errors import ConfigError, DataError

if TYPE_CHECKING:
    from pathlib import Path

TABLE = np.arange(40.0).reshape(20, 2)
LABELS = np.array([0, 1] * 10)


def save(path: Path, **arrays: np.ndarray) -> str:
    np.savez(path, **arrays)  # type: ignore[arg-type]
    return f"npz:{path}"


def test_npz_without_test_set_holds_out_a_fifth_wherever_the_file_lies(tmp_path: Path) -> None:
    first = load_dataset(save(tmp_path / "a.npz", x=TABLE, y=LABELS))
    second = load_dataset(save(tmp_path / "b.npz", x=TABLE, y=LABELS))
    assert first.train_size == 16
    assert first.about.fingerprint == second.about.fingerprint
    assert first.about.modality == "tabular"


def test_npz_keeps_an_official_split_text_classes_and_clients(tmp_path: Path) -> None:
    name = save(
        tmp_path / "a.npz",
        x_train=TABLE[:12], y_train=np.array(["cat", "dog", "ant"] * 4), client_train=np.array(["u", "v"] * 6),
        x_test=TABLE[12:], y_test=np.array(["dog", "cat"] * 4), client_test=np.array(["v", "w"] * 4),
    )  # fmt: skip
    data = load_dataset(name)
    assert data.train_size == 12
    assert data.about.class_names == ("ant", "cat", "dog")
    assert data.labels.tolist() == [1, 2, 0] * 4 + [2, 1] * 4
    assert data.natural is not None
    assert data.natural.tolist() == [0, 1] * 6 + [1, 2] * 4


def test_npz_classes_are_ordered_by_number(tmp_path: Path) -> None:
    data = load_dataset(save(tmp_path / "a.npz", x=TABLE, y=np.array([10, 9] * 10)))
    assert data.about.class_names == ("9", "10")


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((20, 4, 5), (1, 4, 5)), ((20, 3, 4, 5), (3, 4, 5)), ((20, 4, 5, 3), (3, 4, 5)), ((20, 4, 5, 1), (1, 4, 5))],
)
def test_npz_images_with_channels_first_or_last(
    shape: tuple[int, ...], expected: tuple[int, ...], tmp_path: Path
) -> None:
    images = np.random.Generator(np.random.Philox(1)).integers(0, 256, shape, dtype=np.uint8)
    data = load_dataset(save(tmp_path / "a.npz", x=images, y=LABELS))
    assert data.about.shape == expected
    assert data.inputs.dtype == torch.uint8
    assert (
        torch.bincount(data.inputs.flatten(), minlength=256).tolist()
        == np.bincount(images.ravel(), minlength=256).tolist()
    )


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": TABLE}, "lacks y; it holds x"),
        ({"x_train": TABLE, "y_train": LABELS}, "lacks x_test, y_test"),
        ({"x": np.array([{}] * 20), "y": LABELS}, "without Python objects"),
        ({"x": TABLE, "y": LABELS / 3}, "whole numbers or text, found float64"),
        ({"x": TABLE, "y": np.zeros(20, int)}, "at least two classes, found"),
        ({"x": TABLE, "y": LABELS[:3]}, "one label"),
        ({"x": np.zeros((20, 4, 5, 2)), "y": LABELS}, "1 or 3 channels"),
        ({"x": np.array(["a"] * 20), "y": LABELS}, "inputs must be numbers"),
        ({"x_train": TABLE, "y_train": LABELS, "x_test": TABLE[:, :1], "y_test": LABELS}, "inputs differ"),
        (
            {"x_train": TABLE, "y_train": LABELS, "x_test": TABLE, "y_test": LABELS, "client_test": LABELS},
            "clients for one side only",
        ),
    ],
)
def test_npz_that_cannot_be_used_is_refused(arrays: dict[str, np.ndarray], message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        load_dataset(save(tmp_path / "a.npz", **arrays))


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04 cut short", b"\x93NUMPY\x01\x00"])
def test_a_file_that_is_no_npz_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(DataError, match="cannot be read as plain arrays"):
        load_dataset(f"npz:{tmp_path / 'a.npz'}")


def test_csv_encodes_text_fills_gaps_and_knows_clients(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    rows = [f"{n if n % 5 else ''},{'red' if n % 2 else 'blue'},{n % 3},{'ab'[n % 2]}" for n in range(30)]
    path.write_text("\n".join(["size,colour,hospital,kind", *rows]) + "\n")
    name = f"csv:{path}?target=kind&client=hospital"
    data = load_dataset(name)
    assert data.about.shape == (3,)  # size, blue, red
    assert data.about.class_names == ("a", "b")
    assert data.natural is not None
    assert np.bincount(data.natural).tolist() == [10, 10, 10]
    assert data.train_size == 24
    assert not data.inputs.isnan().any()
    # Blue is class a, red class b: the one-hot columns have opposite signs.
    assert ((data.inputs[:, 1] > 0) == (data.labels == 0)).all()
    assert ((data.inputs[:, 2] > 0) == (data.labels == 1)).all()
    assert available(name) == (True, str(path))


def test_column_names_may_be_percent_encoded(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("a,a&b\n" + "1,x\n2,y\n" * 10)
    assert load_dataset(f"csv:{path}?target=a%26b").about.class_names == ("x", "y")


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("", "does not say which column is the class"),
        ("?target=nope", "no column of .* is named 'nope'"),
        ("?target=kinds", "did you mean 'kind'"),
        ("?target=kind&client=x", "no column of .* is named 'x'"),
        ("?traget=kind", "no option of csv: is named 'traget'; did you mean 'target'"),
        ("?target=kind&target=size", "gives an option twice"),
        ("?target", "options after \\? are option=value"),
    ],
)
def test_bad_csv_options_are_refused_before_loading(query: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("size,kind\n1,a\n2,b\n")
    with pytest.raises(ConfigError, match=message):
        check_dataset_name(f"csv:{path}{query}")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("size,kind\n1,a\n2,\n", "1 rows without a class"),
        ("size,kind\n1,0.5\n2,1.5\n", "measurements"),
        ("kind\na\nb\n", "has no feature column"),
        ("size,kind\n" + "".join(f"id{n},{n % 2}\n" for n in range(300)), "column 'size' .* has 300 distinct texts"),
        ('size,kind\n1,"a\n', "cannot be read as a comma-separated table"),
    ],
)
def test_tables_that_cannot_be_used_are_refused(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        load_dataset(f"csv:{path}?target=kind")


def pictures(folder: Path, classes: dict[str, int], size: tuple[int, int] = (6, 4), mode: str = "RGB") -> None:
    for label, (name, count) in enumerate(classes.items()):
        (folder / name).mkdir(parents=True)
        for number in range(count):
            shade = 10 * (label + 1)
            Image.new(mode, size, shade if mode == "L" else (shade, 0, 0)).save(folder / name / f"{number}.png")


def test_folder_with_a_subfolder_per_class(tmp_path: Path) -> None:
    pictures(tmp_path, {"cat": 5, "dog": 5})
    (tmp_path / "notes.txt").write_text("ignored")
    data = load_dataset(f"folder:{tmp_path}")
    assert (data.train_size, data.about.shape, data.about.class_names) == (8, (3, 4, 6), ("cat", "dog"))
    assert (data.inputs[:, 0].float().mean(dim=(1, 2)) / 10 - 1).tolist() == data.labels.tolist()


@pytest.mark.parametrize("test", ["test", "val"])
def test_folder_with_train_and_test_on_top(test: str, tmp_path: Path) -> None:
    pictures(tmp_path / "train", {"cat": 3, "dog": 2}, mode="L")
    pictures(tmp_path / test, {"cat": 1, "dog": 1}, mode="L")
    data = load_dataset(f"folder:{tmp_path}?size=8")
    assert (data.train_size, data.about.shape) == (5, (1, 8, 8))
    assert data.labels.tolist() == [0, 0, 0, 1, 1, 0, 1]


def test_pictures_of_another_size_are_resized_whole(tmp_path: Path) -> None:
    pictures(tmp_path, {"cat": 3, "dog": 3})
    wide = Image.new("RGB", (12, 8))
    wide.paste((200, 0, 0), (6, 0, 12, 8))  # right half red
    wide.save(tmp_path / "cat" / "9.png")
    data = load_dataset(f"folder:{tmp_path}")
    found = next(row for row in data.inputs if row.max() == 200)
    assert found[0, :, 0].unique().tolist() == [0]
    assert found[0, :, -1].unique().tolist() == [200]


def test_the_folder_digest_follows_names_and_sizes(tmp_path: Path) -> None:
    pictures(tmp_path, {"cat": 2, "dog": 2})
    before = file_digest(f"folder:{tmp_path}")
    assert before == file_digest(f"folder:{tmp_path}?size=8")
    (tmp_path / "cat" / "0.png").rename(tmp_path / "cat" / "7.png")
    assert before != file_digest(f"folder:{tmp_path}")


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (lambda path: None, "there is none"),
        (lambda path: Image.new("L", (4, 4)).save(path / "loose.png"), "loose.png lies outside them"),
        (lambda path: pictures(path, {"cat": 3}), "at least two classes"),
    ],
)
def test_folders_that_cannot_be_used_are_refused(prepare: object, message: str, tmp_path: Path) -> None:
    prepare(tmp_path)  # type: ignore[operator]
    with pytest.raises(DataError, match=message):
        load_dataset(f"folder:{tmp_path}")


@pytest.mark.parametrize("name", ["npz:/no/such.npz", "csv:/no/such.csv?target=y", "folder:/no/such"])
def test_files_that_do_not_exist_are_refused_early(name: str) -> None:
    with pytest.raises(ConfigError, match=r"there is no (file|folder) /no/such"):
        check_dataset_name(name)
    assert available(name)[0] is False


def test_a_picture_size_must_be_a_number(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="from 1 to 1024, got 'big'"):
        check_dataset_name(f"folder:{tmp_path}?size=big")
