"""All data sets by name (datasets room): listing, early checks and loading; imports no torch until one is loaded.

A name is a single data set (`digits`) or a family and what follows its colon (`openml:credit-g`,
`npz:data.npz`, `csv:table.csv?target=y&client=hospital`, `folder:images?size=32`). How to add one's own is shown
in `source`.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from fl_bench.errors import ConfigError

from . import (  # noqa: F401 - registers their data sets
    activities,
    bundled,
    emoji,
    glyphs,
    huggingface,
    keel,
    leaf,
    openml,
    planted,
    plays,
    r_packages,
    tinyimagenet,
    user_files,
    vision,
)
from .dataset import build_dataset
from .source import DATASETS, Facts, Request, Source, dataset

if TYPE_CHECKING:
    from .dataset import Dataset

__all__ = [
    "DATASETS",
    "Facts",
    "Request",
    "available",
    "build_dataset",
    "check_dataset_name",
    "dataset",
    "dataset_info",
    "family_of",
    "file_digest",
    "listing",
    "load_dataset",
    "natural_clients",
]


def load_dataset(name: str, *, data_dir: Path | None = None, download: bool = False) -> Dataset:
    """Load a data set.

    Args:
        name: a single name, or a family with its argument.
        data_dir: the first folder to search for files, and where downloads go.
        download: whether missing files may be fetched.
    Raises:
        ConfigError: there is no such data set, or its argument is malformed.
        DataError: its files are missing or not what they claim to be.
    """
    check_dataset_name(name)
    return _source(name).load(Request(name, data_dir, download))


def check_dataset_name(name: str) -> None:
    """Refuse a name that cannot be loaded: unknown, malformed, or a user's file that does not exist.

    Raises:
        ConfigError: says what was asked, what was found and what would do.
    """
    source = _source(name)
    family, colon, argument = name.partition(":")
    if source.argument and not argument and (colon or not source.optional):
        raise ConfigError(f"data set {family!r} needs an argument: {source.facts.name}, got {name!r}")
    if colon and not source.argument:
        raise ConfigError(f"data set {family!r} takes nothing after its name, got {name!r}")
    source.check(Request(name))


def dataset_info(name: str) -> Facts:
    """What is known of a data set without loading it."""
    return _source(name).facts


def natural_clients(name: str) -> int | None:
    """Number of clients that a data set came with (persons, roles, the clients of a user's file); None without.

    Raises:
        ConfigError: the file does not exist.
        DataError: the file cannot be read.
    """
    digest = file_digest(name)
    return _source(name).clients(Request(name)) if digest is None else _clients_in(name, digest)


@lru_cache(maxsize=64)
def _clients_in(name: str, digest: str) -> int | None:
    """The same of a user's file with this content, which takes as long as to read its table, and is asked for often."""
    del digest
    return _source(name).clients(Request(name))


def family_of(name: str, digest: str | None = None) -> str:
    """The family of a data set: what together counts as one independent observation of a comparison.

    Args:
        name: as records write it; a user's file needs not exist.
        digest: content of a user's file; the same content is the same family, whatever it is called.
    Returns:
        The declared family, the kind and the first digits of the content of a user's file, or else the name itself,
        also where no data set of that name is known.
    """
    kind = name.partition(":")[0]
    if digest is not None:
        return f"{kind}:{digest[:10]}"
    declared = DATASETS[kind].facts.family if kind in DATASETS.names() else ""
    return declared or name


def listing() -> list[Facts]:
    """Facts of every registered data set and family, by name."""
    return [DATASETS[name].facts for name in DATASETS.names()]


def file_digest(name: str) -> str | None:
    """SHA-256 (hex) of a user's file, or of a folder's sorted (relative name, size) list; None for named sets.

    Raises:
        ConfigError: the file does not exist.
    """
    check_dataset_name(name)
    digest = _source(name).digest
    return None if digest is None else digest(Request(name))


def available(name: str, *, data_dir: Path | None = None) -> tuple[bool, str]:
    """Whether a data set can be loaded without downloading, and where it is or what would bring it."""
    return _source(name).locate(Request(name, data_dir))


FORMS = {".csv": "csv:{}?target=COLUMN", ".npz": "npz:{}"}
"""How a user's file is written, by the end of its name."""


def file_form(path: str) -> str | None:
    """The data set that a file or folder of the user is, by its name alone; None where it looks like neither."""
    form = FORMS.get(Path(path).suffix.lower(), "folder:{}" if "/" in path else None)
    return None if form is None else form.format(path)


def _source(name: str) -> Source:
    kind = name.partition(":")[0]
    form = file_form(name)
    if kind == name and kind not in DATASETS.names() and form is not None:
        raise ConfigError(f"no data set is named {name!r}; a file or folder of your own is {form!r}")
    return DATASETS[kind]
