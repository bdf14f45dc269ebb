"""`glyphs` (datasets room): digits and letters drawn from free fonts; a family of fonts stands in for a writer.

FEMNIST (Caldas et al., arXiv:1812.01097) has the same 62 classes, 28x28 grey pictures and a client per writer. This is
print, not handwriting: a stand-in that Debian's packages bring, where styles differ from client to client and classes
are the same everywhere.
"""

from __future__ import annotations

import hashlib
import string
from typing import TYPE_CHECKING

import numpy as np

from fl_bench.errors import DataError, one_line

from .dataset import build_dataset
from .debian import debian_file, debian_places, unpacking
from .fonts import FAMILIES
from .source import Request, dataset

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from .dataset import Dataset

CHARACTERS = string.digits + string.ascii_uppercase + string.ascii_lowercase
SIDE = 28
BASELINE = 22
"""Pixels above the line that letters stand on; what hangs deeper than the other 6 is cut off."""
HEIGHT = 18
"""Pixels of a capital of medium height."""
MEASURE = 100
"""The font size, in pixels, at which capitals are measured."""
PACKAGES = sorted({family.package for family in FAMILIES})


def _find(request: Request) -> list[list[Path]] | None:
    """The files of each family, or None where one is missing."""
    found = [[debian_file(request, f"share/fonts/{file}") for file in family.files] for family in FAMILIES]
    known = [[path for path in family if path] for family in found]
    return known if known == found else None


def _locate(request: Request) -> tuple[bool, str]:
    found = _find(request)
    return (True, str(found[0][0].parent)) if found else (False, unpacking(request, PACKAGES))


@dataset("glyphs", modality="image", shape=(1, 28, 28), classes=62, train=8238, test=2054, needs="package",
         locate=_locate, clients=len(FAMILIES))  # fmt: skip
def glyphs(request: Request) -> Dataset:
    """Digits and letters in print, 28x28 grey, by families of fonts as writers: a stand-in for FEMNIST.

    A character of a family is in the test set in all its styles (bold, italic), or in none. FreeType draws; other
    versions of it, or of a font, draw other pixels, and the fingerprint is another one.

    Raises:
        DataError: a font is not found, or cannot be read.
    """
    families = _find(request)
    if families is None:
        lost = [
            family for family in FAMILIES if not all(debian_file(request, f"share/fonts/{f}") for f in family.files)
        ]
        places = [place for family in lost[:1] for place in debian_places(request, f"share/fonts/{family.files[0]}")]
        raise request.missing(places, [unpacking(request, sorted({family.package for family in lost}))])
    files = [path for family in families for path in family]
    writer = np.repeat(np.arange(len(families)), [len(family) for family in families])
    drawn = np.concatenate([draw(path) for path in files])
    labels = np.tile(np.arange(len(CHARACTERS)), len(files))
    writers = np.repeat(writer, len(CHARACTERS))
    return build_dataset(
        request.name,
        drawn[:, None],
        labels,
        source=_source(files),
        classes=len(CHARACTERS),
        class_names=list(CHARACTERS),
        natural=writers,
        groups=writers * len(CHARACTERS) + labels,
    )


def draw(path: Path, characters: Sequence[str] = CHARACTERS) -> np.ndarray:
    """Draw characters of a font, white on black, each in the middle of its picture and all on one baseline.

    Capitals are 18 pixels high in the median, and all characters have their scale: a small letter stays smaller than
    its capital.

    Args:
        path: a font that FreeType reads.
        characters: what to draw.
    Returns:
        uint8, shape (characters, 28, 28).
    Raises:
        DataError: the file is no font, or has no such character.
    """
    from PIL import Image, ImageDraw, ImageFont

    basic = ImageFont.Layout.BASIC  # whether or not the system has a library for complex scripts
    pictures = []
    try:
        measured = ImageFont.truetype(path, MEASURE, layout_engine=basic)
        heights = [-measured.getbbox(capital, anchor="ls")[1] for capital in string.ascii_uppercase]
        size = round(MEASURE * HEIGHT / max(float(np.median(heights)), 1))
        font = ImageFont.truetype(path, size, layout_engine=basic)
        for character in characters:
            wide = Image.new("L", (3 * SIDE, SIDE))
            ImageDraw.Draw(wide).text((SIDE, BASELINE), character, fill=255, font=font, anchor="ls")
            left, _, right, _ = wide.getbbox() or (SIDE, 0, SIDE, 0)
            middle = (left + right) // 2
            pictures.append(np.asarray(wide.crop((middle - SIDE // 2, 0, middle + SIDE // 2, SIDE))))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is not a readable font: {one_line(error)}") from error
    if empty := [character for character, picture in zip(characters, pictures, strict=True) if not picture.any()]:
        raise DataError(f"the font {path} draws nothing for {', '.join(empty)}")
    return np.stack(pictures)


def _source(files: Sequence[Path]) -> str:
    """What was drawn with what."""
    import PIL
    from PIL import features

    digest = hashlib.sha256()
    for path in files:
        digest.update(path.read_bytes())
    tool = f"Pillow {PIL.__version__} with FreeType {features.version('freetype2')}"
    fonts = f"{len(files)} fonts of {len(PACKAGES)} Debian packages, SHA-256 {digest.hexdigest()[:12]}"
    return f"drawn by {tool} from {fonts}; other versions of either draw other pixels"
