"""MNIST, Fashion-MNIST, EMNIST, SVHN and CIFAR (datasets room), from their published files.

The IDX files of the MNIST family are read here, plain or gzipped, as torchvision and as Debian's
`dataset-fashion-mnist` lay them out. SVHN and CIFAR are read by torchvision, which verifies the published MD5 sums
of every file first; CIFAR's files are pickles, and none is opened before its sum has been verified. Downloads are
torchvision's own (progress, MD5 verified), into a temporary folder that is renamed when complete.
"""

from __future__ import annotations

import gzip
import struct
import zlib
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fl_bench.errors import DataError
from fl_bench.lazy import F, torch
from fl_bench.limits import refuse_larger

from .dataset import build_dataset
from .source import Request, dataset

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .dataset import Augment, Dataset

DIGIT_NAMES = tuple("0123456789")
FASHION_NAMES = (
    "t-shirt/top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot",
)  # fmt: skip
EMNIST_NAMES = tuple("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabdefghnqrt")
"""The balanced split merges 15 letters whose cases look alike, so that 11 small letters remain."""

MNIST_STEMS = tuple(
    f"{side}-{kind}" for side in ("train", "t10k") for kind in ("images-idx3-ubyte", "labels-idx1-ubyte")
)
EMNIST_STEMS = tuple(
    f"emnist-balanced-{side}-{kind}"
    for side in ("train", "test")
    for kind in ("images-idx3-ubyte", "labels-idx1-ubyte")
)
MOST_DIMENSIONS = 4
"""Of an IDX file: rows, and what a picture has."""
CHUNK = 2**20
"""Bytes of an IDX file that are read at a time."""
DEBIAN_FASHION = Path("/usr/share/datasets/fashion-mnist")


class Files:
    """Where the files of one published data set may lie, and how they are recognised and fetched."""

    def __init__(
        self,
        name: str,
        torchvision_class: str,
        inside: Callable[[Path], Path | None],
        system: Sequence[Path] = (),
        ways: Sequence[str] = (),
    ) -> None:
        self.name = name
        self.torchvision_class = torchvision_class
        self.inside = inside
        """The folder inside a place that holds the files, or None."""
        self.system = system
        self.ways = (
            *ways,
            "allow the download with --download (torchvision's copy, checksum verified)",
            f"put the published files into one of these folders, or name theirs with --data-dir or $FL_BENCH_DATA "
            f"(torchvision's {torchvision_class} layout)",
        )

    def find(self, request: Request) -> Path | None:
        """The folder that holds the files, if any."""
        found = (self.inside(place) for place in request.places(self.name, self.system))
        return next((folder for folder in found if folder is not None), None)

    def locate(self, request: Request) -> tuple[bool, str]:
        """For `doctor`: the folder, or the first thing that would bring it."""
        folder = self.find(request)
        return (True, str(folder)) if folder else (False, self.ways[0])

    def get(self, request: Request, **options: str) -> Path:
        """The folder that holds the files, after a download where that is allowed.

        Raises:
            DataError: the files are nowhere, or the download failed.
        """
        folder = self.find(request)
        if folder is None and request.download:
            import torchvision

            published = getattr(torchvision.datasets, self.torchvision_class)
            sides = [{"split": side} for side in ("train", "test")] if self.torchvision_class == "SVHN" else [options]
            fetched = request.fetch(
                self.name,
                lambda temporary: [published(str(temporary), download=True, **side) for side in sides],
            )
            folder = self.inside(fetched)
        if folder is None:
            raise request.missing(request.places(self.name, self.system), self.ways)
        return folder


def _idx_inside(name: str, torchvision_class: str, stems: Sequence[str]) -> Callable[[Path], Path | None]:
    """Recognise IDX files under `<torchvision class>/raw`, or bare in a folder that is called like the data set.

    MNIST and Fashion-MNIST use the same file names, so bare files elsewhere do not say what they are.
    """

    def inside(place: Path) -> Path | None:
        folders = [place / torchvision_class / "raw", *([place] if place.name == name else [])]
        return next((folder for folder in folders if all(_plain_or_gz(folder, stem) for stem in stems)), None)

    return inside


def _holding(*names: str) -> Callable[[Path], Path | None]:
    """Recognise a folder by the files or folders in it."""
    return lambda place: place if all((place / name).exists() for name in names) else None


MNIST = Files("mnist", "MNIST", _idx_inside("mnist", "MNIST", MNIST_STEMS))
FASHION = Files(
    "fashion-mnist",
    "FashionMNIST",
    _idx_inside("fashion-mnist", "FashionMNIST", MNIST_STEMS),
    system=(DEBIAN_FASHION,),
    ways=("on Debian and Ubuntu: apt-get install dataset-fashion-mnist",),
)
EMNIST = Files("emnist-balanced", "EMNIST", _idx_inside("emnist-balanced", "EMNIST", EMNIST_STEMS))
SVHN = Files("svhn", "SVHN", _holding("train_32x32.mat", "test_32x32.mat"))
CIFAR10 = Files("cifar10", "CIFAR10", _holding("cifar-10-batches-py"))
CIFAR100 = Files("cifar100", "CIFAR100", _holding("cifar-100-python"))


@dataset(
    "mnist", modality="image", shape=(1, 28, 28), classes=10, train=60000, test=10000,
    needs="download", locate=MNIST.locate, family="nist",
)  # fmt: skip
def mnist(request: Request) -> Dataset:
    """Handwritten digits, 28x28 grey (LeCun, Cortes and Burges)."""
    return _idx_dataset(request, MNIST.get(request), MNIST_STEMS, DIGIT_NAMES)


@dataset(
    "fashion-mnist", modality="image", shape=(1, 28, 28), classes=10, train=60000, test=10000,
    needs="download", locate=FASHION.locate,
)  # fmt: skip
def fashion_mnist(request: Request) -> Dataset:
    """Articles of clothing, 28x28 grey (Xiao, Rasul and Vollgraf, arXiv:1708.07747)."""
    return _idx_dataset(request, FASHION.get(request), MNIST_STEMS, FASHION_NAMES)


@dataset(
    "emnist-balanced", modality="image", shape=(1, 32, 32), classes=47, train=112800, test=18800,
    needs="download", locate=EMNIST.locate, family="nist",
)  # fmt: skip
def emnist_balanced(request: Request) -> Dataset:
    """Handwritten digits and letters, balanced split, resized to 32x32 grey (Cohen et al., arXiv:1702.05373).

    The published pictures lie on their side (rows and columns exchanged); they are turned upright here, then
    resized from 28x28 with bilinear interpolation.
    """
    folder = EMNIST.get(request, split="balanced")
    return _idx_dataset(request, folder, EMNIST_STEMS, EMNIST_NAMES, lambda images: _resized(images.swapaxes(2, 3)))


@dataset(
    "svhn", modality="image", shape=(3, 32, 32), classes=10, train=73257, test=26032,
    needs="download", locate=SVHN.locate,
)  # fmt: skip
def svhn(request: Request) -> Dataset:
    """House numbers in street pictures, 32x32 colour, cropped digits, without the extra set (Netzer et al., 2011)."""
    folder = SVHN.get(request)
    import torchvision

    sides = _verified(request, folder, lambda side: torchvision.datasets.SVHN(str(folder), split=side))
    return _published(
        request, folder, [side.data for side in sides], [side.labels for side in sides], DIGIT_NAMES, "crop"
    )


@dataset(
    "cifar10", modality="image", shape=(3, 32, 32), classes=10, train=50000, test=10000,
    needs="download", locate=CIFAR10.locate, family="cifar",
)  # fmt: skip
def cifar10(request: Request) -> Dataset:
    """Photographs of 10 kinds of things, 32x32 colour (Krizhevsky, 2009)."""
    return _cifar(request, CIFAR10)


@dataset(
    "cifar100", modality="image", shape=(3, 32, 32), classes=100, train=50000, test=10000,
    needs="download", locate=CIFAR100.locate, family="cifar",
)  # fmt: skip
def cifar100(request: Request) -> Dataset:
    """Photographs of 100 kinds of things, 32x32 colour, fine labels (Krizhevsky, 2009)."""
    return _cifar(request, CIFAR100)


def read_idx(path: Path) -> np.ndarray:
    """Read one IDX file of unsigned bytes, gzipped where its name ends in .gz.

    Format: two zero bytes, the type 0x08, the number of dimensions, a big-endian uint32 per dimension, the bytes.

    Raises:
        DataError: the file is not in this format, is cut short, or declares more than memory holds.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            zeros, kind, dimensions = struct.unpack(">HBB", file.read(4))
            if zeros or kind != 0x08 or dimensions > MOST_DIMENSIONS:
                raise DataError(f"{path} is not an IDX file of bytes: it begins with {zeros}, {kind}, {dimensions}")
            shape = struct.unpack(f">{dimensions}I", file.read(4 * dimensions))
            refuse_larger(f"{path} unpacked", prod(shape))
            content = bytearray()  # grows with what is there: one read would take the memory that the header declares
            while chunk := file.read(min(CHUNK, prod(shape) + 1 - len(content))):  # one more would be one too many
                content += chunk
    except (OSError, EOFError, struct.error, zlib.error) as error:
        raise DataError(f"{path} is not a readable IDX file: {error}") from error
    if len(content) != prod(shape):
        found = "more" if len(content) > prod(shape) else f"{len(content)} bytes"
        raise DataError(f"{path} is not an IDX file of bytes: its header says shape {shape}, it holds {found}")
    return np.frombuffer(content, dtype=np.uint8).reshape(shape)


def _idx_dataset(
    request: Request,
    folder: Path,
    stems: Sequence[str],
    class_names: Sequence[str],
    change: Callable[[np.ndarray], np.ndarray] = lambda images: images,
) -> Dataset:
    """Training images and labels, test images and labels, from four IDX files."""
    arrays = [read_idx(found) for stem in stems if (found := _plain_or_gz(folder, stem))]
    if [array.ndim for array in arrays] != [3, 1, 3, 1] or arrays[0].shape[1:] != arrays[2].shape[1:]:
        raise DataError(f"the IDX files in {folder} have unexpected shapes: {[array.shape for array in arrays]}")
    images = [change(array[:, None]) for array in arrays[0::2]]
    return _published(request, folder, images, arrays[1::2], class_names, "none")


def _cifar(request: Request, files: Files) -> Dataset:
    folder = files.get(request)
    import torchvision

    published = getattr(torchvision.datasets, files.torchvision_class)
    sides = _verified(request, folder, lambda side: published(str(folder), train=side == "train"))
    images = [side.data.transpose(0, 3, 1, 2) for side in sides]
    return _published(request, folder, images, [side.targets for side in sides], sides[0].classes, "crop-flip")


def _verified(request: Request, folder: Path, read: Callable[[str], Any]) -> list[Any]:
    """Both sides as torchvision reads them; it raises RuntimeError when an MD5 sum is not the published one."""
    try:
        return [read(side) for side in ("train", "test")]
    except RuntimeError as error:
        raise DataError(
            f"the files of {request.name!r} in {folder} are incomplete or not the published ones (their MD5 sums are "
            f"checked before anything is read); remove them and allow the download with --download: {error}"
        ) from error


def _published(
    request: Request,
    folder: Path,
    images: Sequence[np.ndarray],
    labels: Sequence[Sequence[int] | np.ndarray],
    class_names: Sequence[str],
    augment: Augment,
) -> Dataset:
    """A data set with an official training and test side."""
    return build_dataset(
        request.name,
        np.concatenate(images),
        np.concatenate([np.asarray(side, dtype=np.int64) for side in labels]),
        source=f"the published files in {folder}",
        train_size=len(images[0]),
        classes=len(class_names),
        class_names=class_names,
        augment=augment,
    )


def _resized(images: np.ndarray, size: int = 32) -> np.ndarray:
    """Bilinear interpolation to size x size, rounded to uint8; in parts, since it needs four bytes per pixel."""
    whole = torch.from_numpy(np.ascontiguousarray(images))
    parts = (whole[start : start + 8192].float() for start in range(0, len(whole), 8192))
    resized = [F.interpolate(part, size=(size, size), mode="bilinear").round().byte() for part in parts]
    return torch.cat(resized).numpy()


def _plain_or_gz(folder: Path, stem: str) -> Path | None:
    return next((path for path in (folder / stem, folder / f"{stem}.gz") if path.is_file()), None)
