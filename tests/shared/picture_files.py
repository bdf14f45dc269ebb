"""Writes tiny picture sets in their true on-disk formats: IDX, CIFAR's pickles, TinyImageNet's folders of JPEGs."""

from __future__ import annotations

import gzip
import hashlib
import pickle
import struct
from typing import TYPE_CHECKING, Any

import numpy as np
import torchvision
from PIL import Image

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

RNG = np.random.Generator(np.random.Philox(key=3))

EMNIST = ("emnist-balanced-train", "emnist-balanced-test")


def idx(array: np.ndarray) -> bytes:
    """The IDX format: zero, zero, 0x08 (bytes), axes; big-endian sizes; the bytes."""
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


def write_idx(
    folder: Path, prefixes: tuple[str, str], classes: int, gz: bool, per_class: tuple[int, int] = (2, 1)
) -> dict[str, np.ndarray]:
    """Training and test pictures of 28x28, so many of each class, labels in turn; what was written by file."""
    folder.mkdir(parents=True)
    arrays: dict[str, np.ndarray] = {}
    for prefix, each in zip(prefixes, per_class, strict=True):
        rows = each * classes
        arrays[f"{prefix}-images-idx3-ubyte"] = RNG.integers(0, 256, (rows, 28, 28), dtype=np.uint8)
        arrays[f"{prefix}-labels-idx1-ubyte"] = (np.arange(rows) % classes).astype(np.uint8)
    for stem, array in arrays.items():
        content = idx(array)
        (folder / f"{stem}{'.gz' if gz else ''}").write_bytes(gzip.compress(content) if gz else content)
    return arrays


def md5(path: Path) -> str:
    """The checksum that torchvision compares."""
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()


def published_cifar(name: str) -> Any:
    """torchvision's class, which knows the names and checksums of the files."""
    return {"cifar10": torchvision.datasets.CIFAR10, "cifar100": torchvision.datasets.CIFAR100}[name]


def write_cifar(root: Path, name: str, per_file: tuple[int, int] = (1, 1)) -> dict[str, np.ndarray]:
    """CIFAR's Python pickles, so many of each class in every training file and in the test file; pixels by file."""
    published, classes = published_cifar(name), int(name.removeprefix("cifar"))
    folder = root / published.base_folder
    folder.mkdir(parents=True)
    key = "labels" if name == "cifar10" else "fine_labels"
    written = {}
    for files, each in zip((published.train_list, published.test_list), per_file, strict=True):
        for file, _ in files:
            written[file] = RNG.integers(0, 256, (each * classes, 3072), dtype=np.uint8)
            content = {"data": written[file], key: list(range(classes)) * each}
            (folder / file).write_bytes(pickle.dumps(content, protocol=2))
    names = [f"thing {label}" for label in range(classes)]
    (folder / published.meta["filename"]).write_bytes(pickle.dumps({published.meta["key"]: names}, protocol=2))
    return written


def trust_batches(root: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the checksums of the batches that were written the published ones."""
    published = published_cifar(name)
    for attribute in ("train_list", "test_list"):
        sums = [[file, md5(root / published.base_folder / file)] for file, _ in getattr(published, attribute)]
        monkeypatch.setattr(published, attribute, sums)


def trust_names(root: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same for the file of class names."""
    published = published_cifar(name)
    file = root / published.base_folder / published.meta["filename"]
    monkeypatch.setattr(published, "meta", {**published.meta, "md5": md5(file)})


def write_tiny_imagenet(root: Path, classes: int, per_class: tuple[int, int]) -> Path:
    """The official folder with so many training and validation pictures of each class, all of noise."""
    folder = root / "tiny-imagenet-200"
    (folder / "val" / "images").mkdir(parents=True)
    ids = [f"n{label:08d}" for label in range(classes)]
    (folder / "wnids.txt").write_text("\n".join(ids) + "\n")
    rows = []
    for wnid in ids:
        images = folder / "train" / wnid / "images"
        images.mkdir(parents=True)
        for number in range(per_class[0]):
            _noise().save(images / f"{wnid}_{number}.JPEG")
        for number in range(per_class[1]):
            name = f"val_{wnid}_{number}.JPEG"
            _noise().save(folder / "val" / "images" / name)
            rows.append(f"{name}\t{wnid}\t0\t0\t63\t63")
    (folder / "val" / "val_annotations.txt").write_text("\n".join(rows) + "\n")
    return folder


def _noise() -> Image.Image:
    return Image.fromarray(RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8))
