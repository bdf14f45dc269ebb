"""Published picture sets, read from tiny files in their true on-disk formats."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from picture_files import (
    EMNIST,
    RNG,
    idx,
    md5,
    published_cifar,
    trust_batches,
    trust_names,
    write_cifar,
    write_idx,
)
from PIL import Image
from scipy.io import savemat

from fl_bench.datasets.catalogue import available, load_dataset
from fl_bench.errors import DataError


@pytest.fixture(autouse=True)
def no_other_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FL_BENCH_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("fl_bench.datasets.vision.FASHION.system", ())


@pytest.mark.parametrize("gz", [False, True])
@pytest.mark.parametrize(
    ("name", "layout"),
    [
        ("mnist", "MNIST/raw"),
        ("mnist", "mnist"),
        ("mnist", "mnist/MNIST/raw"),
        ("fashion-mnist", "FashionMNIST/raw"),
        ("fashion-mnist", "fashion-mnist"),
    ],
)
def test_mnist_and_fashion_mnist_in_both_layouts(name: str, layout: str, gz: bool, tmp_path: Path) -> None:
    arrays = write_idx(tmp_path / layout, ("train", "t10k"), 10, gz)
    data = load_dataset(name, data_dir=tmp_path)
    assert (data.train_size, data.about.shape, data.inputs.dtype) == (20, (1, 28, 28), torch.uint8)
    assert data.inputs[:20, 0].tolist() == arrays["train-images-idx3-ubyte"].tolist()
    assert data.inputs[20:, 0].tolist() == arrays["t10k-images-idx3-ubyte"].tolist()
    assert data.labels.tolist() == [*range(10), *range(10), *range(10)]
    assert available(name, data_dir=tmp_path) == (True, str(tmp_path / layout))


def test_the_folder_itself_may_be_named(tmp_path: Path) -> None:
    write_idx(tmp_path / "fashion-mnist", ("train", "t10k"), 10, True)
    assert load_dataset("fashion-mnist", data_dir=tmp_path / "fashion-mnist").train_size == 20


def test_fashion_mnist_is_never_taken_for_mnist(tmp_path: Path) -> None:
    # The files have the same names; a folder that does not say what it holds is not trusted.
    write_idx(tmp_path / "fashion-mnist", ("train", "t10k"), 10, True)
    for folder in (tmp_path, tmp_path / "fashion-mnist"):
        with pytest.raises(DataError, match="'mnist' were not found"):
            load_dataset("mnist", data_dir=folder)


def test_the_environment_and_the_cache_are_searched_after_the_given_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_idx(tmp_path / "cache" / "fl-bench" / "mnist", ("train", "t10k"), 10, False)
    assert available("mnist")[1] == str(tmp_path / "cache" / "fl-bench" / "mnist")
    write_idx(tmp_path / "shared" / "mnist", ("train", "t10k"), 10, False)
    monkeypatch.setenv("FL_BENCH_DATA", str(tmp_path / "shared"))
    assert available("mnist")[1] == str(tmp_path / "shared" / "mnist")
    write_idx(tmp_path / "given" / "mnist", ("train", "t10k"), 10, False)
    assert available("mnist", data_dir=tmp_path / "given")[1] == str(tmp_path / "given" / "mnist")


def test_emnist_is_turned_upright_and_resized(tmp_path: Path) -> None:
    folder = tmp_path / "EMNIST" / "raw"
    arrays = write_idx(folder, EMNIST, 47, False)
    # An upright picture whose left half is white, stored with rows and columns exchanged: upper half white.
    stored = arrays["emnist-balanced-train-images-idx3-ubyte"]
    stored[0] = 0
    stored[0, :14, :] = 255
    (folder / "emnist-balanced-train-images-idx3-ubyte").write_bytes(idx(stored))
    data = load_dataset("emnist-balanced", data_dir=tmp_path)
    assert (data.about.shape, data.about.classes, data.train_size) == ((1, 32, 32), 47, 94)
    assert data.inputs.dtype == torch.uint8
    assert data.inputs[0, 0, :, :15].min() == 255
    assert data.inputs[0, 0, :, 17:].max() == 0
    assert data.about.class_names[36:] == tuple("abdefghnqrt")


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:-1],
        lambda content: content + b"0",
        lambda content: b"\0\0\x0d" + content[3:],  # floats
        lambda content: content[:3],
        lambda content: b"",
    ],
)
def test_damaged_idx_files_are_refused(damage: object, tmp_path: Path) -> None:
    write_idx(tmp_path / "mnist", ("train", "t10k"), 10, False)
    path = tmp_path / "mnist" / "train-labels-idx1-ubyte"
    path.write_bytes(damage(path.read_bytes()))  # type: ignore[operator]
    with pytest.raises(DataError, match=r"train-labels-idx1-ubyte is not"):
        load_dataset("mnist", data_dir=tmp_path)


def test_a_truncated_gzip_file_is_refused(tmp_path: Path) -> None:
    write_idx(tmp_path / "mnist", ("train", "t10k"), 10, True)
    path = tmp_path / "mnist" / "train-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match="not a readable IDX file"):
        load_dataset("mnist", data_dir=tmp_path)


def test_svhn_from_mat_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # X is (32, 32, 3, rows); y is (rows, 1) with 10 for the digit 0.
    pictures = {
        side: RNG.integers(0, 256, (32, 32, 3, rows), dtype=np.uint8) for side, rows in (("train", 20), ("test", 10))
    }
    splits = {}
    for side, picture in pictures.items():
        path = tmp_path / f"{side}_32x32.mat"
        savemat(path, {"X": picture, "y": (np.arange(picture.shape[3]) % 10 + 1)[:, None].astype(np.uint8)})
        splits[side] = ["http://unused", path.name, md5(path)]
    with pytest.raises(DataError, match=r"not the published ones \(their MD5 sums"):
        load_dataset("svhn", data_dir=tmp_path)
    monkeypatch.setattr(torchvision.datasets.SVHN, "split_list", splits)
    data = load_dataset("svhn", data_dir=tmp_path)
    assert (data.train_size, data.about.shape, data.about.augment) == (20, (3, 32, 32), "crop")
    assert data.labels[:10].tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9, 0]
    assert data.inputs[3].permute(1, 2, 0).tolist() == pictures["train"][..., 3].tolist()


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_cifar_from_pickles_after_the_md5_check(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    published, classes = published_cifar(name), int(name.removeprefix("cifar"))
    written = write_cifar(tmp_path, name)
    monkeypatch.setattr(pickle, "load", lambda *a, **k: pytest.fail("a pickle was opened before its sum was checked"))
    with pytest.raises(DataError, match=r"MD5 sums are checked"):
        load_dataset(name, data_dir=tmp_path)
    monkeypatch.undo()
    trust_batches(tmp_path, name, monkeypatch)
    with pytest.raises(DataError, match=r"MD5 sums are checked"):  # the file of class names is a pickle, too
        load_dataset(name, data_dir=tmp_path)
    trust_names(tmp_path, name, monkeypatch)
    data = load_dataset(name, data_dir=tmp_path)
    assert data.train_size == classes * len(published.train_list)
    assert (data.about.classes, data.about.shape, data.about.augment) == (classes, (3, 32, 32), "crop-flip")
    assert data.about.class_names == tuple(f"thing {label}" for label in range(classes))
    # A row is 1024 red, then green, then blue values, row by row.
    first = written[published.train_list[0][0]][2].reshape(3, 32, 32)
    assert data.inputs[2].tolist() == first.tolist()


def test_a_download_fills_the_first_root_and_is_then_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    class Published:
        def __init__(self, root: str, download: bool) -> None:
            asked.append((Path(root).parent, download))
            write_idx(Path(root) / "MNIST" / "raw", ("train", "t10k"), 10, True)

    monkeypatch.setattr(torchvision.datasets, "MNIST", Published)
    data = load_dataset("mnist", data_dir=tmp_path, download=True)
    assert data.train_size == 20
    assert asked == [(tmp_path, True)]
    load_dataset("mnist", data_dir=tmp_path, download=True)
    assert len(asked) == 1
    assert available("mnist", data_dir=tmp_path) == (True, str(tmp_path / "mnist" / "MNIST" / "raw"))


def test_a_failed_download_leaves_nothing_and_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(root: str, split: str, download: bool) -> None:
        raise RuntimeError("File not found or corrupted.")

    monkeypatch.setattr(torchvision.datasets, "SVHN", unreachable)
    with pytest.raises(DataError, match=r"downloading 'svhn' to .* failed: RuntimeError: File not found or corrupted"):
        load_dataset("svhn", data_dir=tmp_path, download=True)
    assert [path for path in tmp_path.iterdir() if path.name != "cache"] == []


def tiny_imagenet(root: Path) -> Path:
    folder = root / "tiny-imagenet-200"
    (folder / "val" / "images").mkdir(parents=True)
    (folder / "wnids.txt").write_text("n02\nn01\n")
    (folder / "words.txt").write_text("n01\ttench, Tinca tinca\nn03\tother\n")
    for wnid, shade in (("n01", 50), ("n02", 200)):
        (folder / "train" / wnid / "images").mkdir(parents=True)
        for number in range(3):
            picture = Image.new("L" if number == 0 else "RGB", (64, 64), shade if number == 0 else (shade, 0, 0))
            picture.save(folder / "train" / wnid / "images" / f"{wnid}_{number}.JPEG")
    for number in range(2):
        Image.new("RGB", (64, 64), (0, 0, 90 * (number + 1))).save(folder / "val" / "images" / f"val_{number}.JPEG")
    rows = ["val_0.JPEG\tn02\t0\t0\t63\t63", "val_1.JPEG\tn01\t0\t0\t63\t63"]
    (folder / "val" / "val_annotations.txt").write_text("\n".join(rows) + "\n")
    return folder


@pytest.mark.parametrize("inside", [False, True])
def test_tinyimagenet_in_its_official_layout(inside: bool, tmp_path: Path) -> None:
    folder = tiny_imagenet(tmp_path)
    data = load_dataset("tinyimagenet", data_dir=folder if inside else tmp_path)
    assert (data.train_size, data.about.shape, data.about.augment) == (6, (3, 64, 64), "crop-flip")
    assert data.labels.tolist() == [0, 0, 0, 1, 1, 1, 1, 0]
    assert data.about.class_names == ("tench, Tinca tinca", "n02")
    assert data.inputs[0].unique().tolist() == [50]  # a grey picture has three equal channels
    assert data.inputs[4, 0].float().mean().item() == pytest.approx(200, abs=2)  # JPEG
    assert data.inputs[6, 2].float().mean().item() == pytest.approx(90, abs=2)
    assert available("tinyimagenet", data_dir=tmp_path) == (True, str(folder))


def test_damaged_tinyimagenet_is_refused(tmp_path: Path) -> None:
    folder = tiny_imagenet(tmp_path)
    (folder / "val" / "images" / "val_1.JPEG").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"val_1\.JPEG is not a readable picture"):
        load_dataset("tinyimagenet", data_dir=tmp_path)
    (folder / "val" / "val_annotations.txt").write_text("val_0.JPEG\tn09\n")
    with pytest.raises(DataError, match="line 1: 'n09' is not an id"):
        load_dataset("tinyimagenet", data_dir=tmp_path)
    (folder / "val" / "val_annotations.txt").unlink()
    with pytest.raises(DataError, match=r"val_annotations\.txt is missing"):
        load_dataset("tinyimagenet", data_dir=tmp_path)
