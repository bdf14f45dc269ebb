"""Pictures, as files and as bytes, to arrays (datasets room)."""

from __future__ import annotations

import io
import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from fl_bench.errors import DataError
from fl_bench.limits import PICTURE_PIXELS, refuse_larger

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from PIL import Image

Picture = Path | bytes
"""A file, or what it holds."""
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
"""What is decoded, whatever a file is called. Pillow knows more; for EPS it would start Ghostscript."""


def read_images(
    pictures: Sequence[Picture], size: tuple[int, int], mode: Literal["L", "RGB"], *, on_white: bool = False
) -> np.ndarray:
    """Decode pictures; one of another size is resized as a whole (bilinear), never cropped.

    Args:
        pictures: files, or what they hold.
        size: (height, width) of the result.
        mode: one grey channel or three colour channels.
        on_white: whether transparent parts become white; otherwise transparency is ignored.
    Returns:
        uint8, shape (len(pictures), channels, height, width).
    Raises:
        DataError: one is not a readable picture, or all together are more than memory holds.
    """
    from PIL import Image

    shape = (len(pictures), *size, 1 if mode == "L" else 3)
    refuse_larger(
        f"{len(pictures)} pictures of {size[0]}x{size[1]}", prod(shape), "smaller ones, or ?size=32, would do"
    )
    decoded = np.empty(shape, dtype=np.uint8)

    def read(position: int) -> None:
        with _opened(pictures[position]) as opened:
            picture = _on_white(opened).convert(mode) if on_white else opened.convert(mode)
        if picture.size != size[::-1]:
            picture = picture.resize(size[::-1], Image.Resampling.BILINEAR)
        decoded[position] = np.asarray(picture).reshape(decoded.shape[1:])

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as threads:  # decoding releases the interpreter lock
        list(threads.map(read, range(len(pictures))))
    return decoded.transpose(0, 3, 1, 2)


def picture_format(picture: Picture) -> tuple[tuple[int, int], Literal["L", "RGB"]]:
    """Size (height, width) and colour mode of a picture; grey without colour, RGB otherwise.

    Raises:
        DataError: it is not a readable picture.
    """
    with _opened(picture) as opened:
        return opened.size[::-1], "L" if opened.mode in ("1", "L", "I;16") else "RGB"


def layout(inputs: np.ndarray, where: Path) -> np.ndarray:
    """Numbers of whatever axes as `build_dataset` takes them: a table as it is, images with their channels first.

    Args:
        inputs: shape (rows, features), (rows, height, width), or (rows, ...) with 1 or 3 channels first or last.
        where: the file, for the error.
    Raises:
        DataError: they are neither.
    """
    if inputs.dtype.kind not in "fiub" or inputs.ndim not in (2, 3, 4):
        raise DataError(f"{where}: inputs must be numbers with 2 to 4 axes, found {inputs.dtype} {inputs.shape}")
    if inputs.ndim == 3:
        return inputs[:, None]
    if inputs.ndim == 4 and inputs.shape[1] not in (1, 3):
        if inputs.shape[3] not in (1, 3):
            raise DataError(f"{where}: images need 1 or 3 channels, first or last; found shape {inputs.shape}")
        return inputs.transpose(0, 3, 1, 2)
    return inputs


def _on_white(picture: Image.Image) -> Image.Image:
    from PIL import Image

    over = picture.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", over.size, "white"), over)


@contextmanager
def _opened(picture: Picture) -> Iterator[Image.Image]:
    """A picture of a plain format, of which nothing but its size has been read; what goes wrong is a `DataError`."""
    from PIL import Image

    if isinstance(picture, Path) and not picture.is_file():  # a pipe would be waited for
        raise DataError(f"{picture} is no file")
    name = f"a picture of {len(picture)} bytes" if isinstance(picture, bytes) else str(picture)
    try:
        with Image.open(io.BytesIO(picture) if isinstance(picture, bytes) else picture, formats=FORMATS) as opened:
            if opened.width * opened.height > PICTURE_PIXELS:
                raise ValueError(f"{opened.width}x{opened.height} pixels are more than {PICTURE_PIXELS}")
            yield opened
    except Exception as error:  # decoders raise almost anything on a damaged file
        raise DataError(f"{name} is not a readable picture: {error}") from error
