"""Image files to arrays (datasets room), for data sets that are folders of pictures."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from math import prod
from typing import TYPE_CHECKING, Literal

import numpy as np

from fl_bench.errors import DataError
from fl_bench.limits import PICTURE_PIXELS, refuse_larger

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from PIL import Image

FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
"""What is decoded, whatever a file is called. Pillow knows more; for EPS it would start Ghostscript."""


def read_images(paths: Sequence[Path], size: tuple[int, int], mode: Literal["L", "RGB"]) -> np.ndarray:
    """Decode pictures; one of another size is resized as a whole (bilinear), never cropped.

    Args:
        paths: the files.
        size: (height, width) of the result.
        mode: one grey channel or three colour channels.
    Returns:
        uint8, shape (len(paths), channels, height, width).
    Raises:
        DataError: a file is not a readable picture, or all together are more than memory holds.
    """
    from PIL import Image

    shape = (len(paths), *size, 1 if mode == "L" else 3)
    refuse_larger(f"{len(paths)} pictures of {size[0]}x{size[1]}", prod(shape), "smaller ones, or ?size=32, would do")
    pictures = np.empty(shape, dtype=np.uint8)

    def read(position: int) -> None:
        with _opened(paths[position]) as opened:
            picture = opened.convert(mode)
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
    with _opened(path) as opened:
        return opened.size[::-1], "L" if opened.mode in ("1", "L", "I;16") else "RGB"


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """A picture of a plain format, of which nothing but its size has been read; what goes wrong is a `DataError`."""
    from PIL import Image

    if not path.is_file():  # a pipe would be waited for
        raise DataError(f"{path} is no file")
    try:
        with Image.open(path, formats=FORMATS) as opened:
            if opened.width * opened.height > PICTURE_PIXELS:
                raise ValueError(f"{opened.width}x{opened.height} pixels are more than {PICTURE_PIXELS}")
            yield opened
    except Exception as error:  # decoders raise almost anything on a damaged file
        raise DataError(f"{path} is not a readable picture: {error}") from error
