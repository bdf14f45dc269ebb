"""TinyImageNet in its official layout (datasets room): 64x64 colour pictures, kept at 64x64."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fl_bench.errors import DataError

from .dataset import build_dataset
from .images import read_images
from .source import Request, dataset

if TYPE_CHECKING:
    from .dataset import Dataset

FOLDER = "tiny-imagenet-200"
SIZE = (64, 64)


def _find(request: Request) -> Path | None:
    return next((place for place in request.places(FOLDER) if (place / "wnids.txt").is_file()), None)


def _locate(request: Request) -> tuple[bool, str]:
    folder = _find(request)
    return (True, str(folder)) if folder else (False, f"unpack {FOLDER}.zip into a folder that --data-dir names")


@dataset(
    "tinyimagenet", modality="image", shape=(3, 64, 64), classes=200, train=100000, test=10000,
    needs="folder", locate=_locate,
)  # fmt: skip
def tinyimagenet(request: Request) -> Dataset:
    """Photographs of 200 kinds of things, 64x64 colour (Stanford CS231n; the folder tiny-imagenet-200).

    Classes are the sorted WordNet ids of wnids.txt. Training pictures are train/<id>/images/*; the test set is
    val/ with val_annotations.txt, since the labels of test/ were never published.

    Raises:
        DataError: the folder is not found, or a file that its lists name is not.
    """
    folder = _find(request)
    if folder is None:
        raise request.missing(
            request.places(FOLDER),
            [
                f"download http://cs231n.stanford.edu/{FOLDER}.zip, unpack it into one of these folders, or name the "
                "folder that holds it with --data-dir or $FL_BENCH_DATA"
            ],
        )
    ids = sorted(" ".join(_lines(folder / "wnids.txt")).split())
    label_of = {wnid: label for label, wnid in enumerate(ids)}
    train = [(path, label_of[wnid]) for wnid in ids for path in sorted((folder / "train" / wnid / "images").glob("*"))]
    test = _validation(folder, label_of)
    if not train or not test:
        raise DataError(f"{folder} holds {len(train)} training and {len(test)} validation pictures; both are needed")
    paths, labels = zip(*train, *test, strict=True)
    return build_dataset(
        request.name,
        read_images(paths, SIZE, "RGB"),
        np.array(labels),
        source=f"the official folder {folder}; its validation set is the test set",
        train_size=len(train),
        classes=len(ids),
        class_names=_names(folder, ids),
        augment="crop-flip",
    )


def _validation(folder: Path, label_of: dict[str, int]) -> list[tuple[Path, int]]:
    """Pictures and labels of val/, from lines `file<tab>wnid<tab>box`."""
    annotations = folder / "val" / "val_annotations.txt"
    if not annotations.is_file():
        raise DataError(f"{annotations} is missing; TinyImageNet's validation labels are in it")
    rows = []
    for number, line in enumerate(_lines(annotations), start=1):
        name, wnid = [*line.split("\t"), ""][:2]
        if wnid not in label_of:
            raise DataError(f"{annotations}, line {number}: {wnid!r} is not an id of wnids.txt")
        if not name or Path(name).name != name:
            raise DataError(f"{annotations}, line {number}: {name!r} is not the name of a file in val/images")
        rows.append((folder / "val" / "images" / name, label_of[wnid]))
    return rows


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is not readable text: {error}") from error


def _names(folder: Path, ids: list[str]) -> list[str]:
    """Words for the ids where words.txt is there, the ids themselves elsewhere."""
    words = folder / "words.txt"
    lines = _lines(words) if words.is_file() else []
    known = dict(line.split("\t", 1) for line in lines if "\t" in line)
    return [known.get(wnid, wnid) for wnid in ids]
