"""Image files to arrays (datasets room), for data sets that are folders of pictures."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Literal

import numpy as np

from fl_bench.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def read_images(paths: Sequence[Path], size: tuple[int, int], mode: Literal["L", "RGB"]) -> np.ndarray:
    """Decode pictures; one of another size is resized as a whole (bilinear), never cropped.

    Args:
        paths: the files.
        size: (height, width) of the result.
        mode: one grey channel or three colour channels.
    Returns:
        uint8, shape (len(paths), channels, height, width).
    Raises:
        DataError: a file is not a readable picture.
    """
    from PIL import Image, UnidentifiedImageError

    pictures = np.empty((len(paths), *size, 1 if mode == "L" else 3), dtype=np.uint8)

    def read(position: int) -> None:
        try:
            with Image.open(paths[position]) as opened:
                picture = opened.convert(mode)
        except (OSError, ValueError, UnidentifiedImageError, Image.DecompressionBombError) as error:
            raise DataError(f"{paths[position]} is not a readable picture: {error}") from error
        if picture.size != size[::-1]:
            picture = picture.resize(size[::-1], Image.Resampling.BILINEAR)
        pictures[position] = np.asarray(picture).reshape(pictures.shape[1:])

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as threads:  # decoding releases the interpreter lock
        list(threads.map(read, range(len(paths))))
    return pictures.transpose(0, 3, 1, 2)


def picture_format(path: Path) -> tuple[tuple[int, int], Literal["L", "RGB"]]:
    """Size (height, width) and colour mode of a picture; grey without colour, RGB otherwise.

    Raises:
        DataError: the file is not a readable picture.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as opened:
            return opened.size[::-1], "L" if opened.mode in ("1", "L", "I;16") else "RGB"
    except (OSError, UnidentifiedImageError) as error:
        raise DataError(f"{path} is not a readable picture: {error}") from error
