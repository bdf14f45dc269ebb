"""What a data set is before it is loaded (datasets room): its name, facts for listings, and how to load it.

A data set of your own is a function in a file that `--plugin` or the entry-point group `fl_bench.datasets` names:

    @dataset("two-moons", modality="tabular", shape=(2,), classes=2, train=800, test=200)
    def two_moons(request: Request) -> Dataset:
        \"\"\"Two interleaved half circles (made up on the spot).\"\"\"
        inputs, labels = make_moons(1000, noise=0.2, random_state=0)
        return build_dataset(request.name, inputs, labels, source="scikit-learn's make_moons, random_state 0")

`build_dataset` fixes the test set, standardises tables on training rows, checks ranges and takes the fingerprint;
`Request.places`, `Request.fetch` and `Request.missing` give files the search order, downloads and errors of our own
sets. Import heavy packages inside the function: listings and the validation of a grid import this module's users.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from fl_bench.errors import ConfigError, DataError
from fl_bench.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .dataset import Dataset, Modality

Needs = Literal["bundled", "download", "wheel", "package", "folder", "file"]


def user_path(text: str | Path) -> Path:
    """The path that a user wrote, `~` resolved; whether there is anything may be asked of it.

    Raises:
        ConfigError: nobody is called so, or the system does not look there (a name too long, no permission).
    """
    try:
        path = Path(text).expanduser()
        path.exists()
    except (OSError, RuntimeError) as error:
        raise ConfigError(f"cannot look for {str(text)[:80]!r}: {getattr(error, 'strerror', None) or error}") from None
    return path


@dataclass(frozen=True)
class Facts:
    """What listings and early checks know of a data set without loading it."""

    name: str
    """The name in grids; families show what follows the colon, such as `openml:<name or id>`."""
    summary: str
    """One sentence."""
    modality: Modality | None
    """`image`, `tabular`, `sequence`, `text`, or None where it depends on the user's file."""
    shape: tuple[int, ...] | None
    """Shape of one input, if known."""
    classes: int | None
    """Number of classes, if known."""
    train: int | None
    """Training rows, if known."""
    test: int | None
    """Test rows, if known."""
    needs: Needs
    """What brings the bytes: nothing (`bundled`), a download, an installed wheel, a `package` of Debian or npm, a
    folder or file of the user's."""
    family: str
    """Data sets of one source, task or group of people: together one independent observation of a comparison; nothing
    where each name after the colon is a family of its own."""
    vocabulary: int | None = None
    """Number of different tokens of a text; None for all other data, or where it is not known."""
    clients: int | None = None
    """Number of clients that the data came with, such as persons; None where there are none, or it depends on more than
    the name before a colon."""


def cache_folder() -> Path:
    """The user's cache: data that were fetched, and what plans found out."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fl-bench"


@dataclass(frozen=True)
class Request:
    """One request for a data set: its name as written, and where files may come from."""

    name: str
    """The name as written, such as `digits` or `csv:table.csv?target=y`."""
    data_dir: Path | None = None
    """The folder given with `--data-dir`."""
    download: bool = False
    """Whether missing files may be fetched."""

    @property
    def argument(self) -> str:
        """What stands behind the colon."""
        return self.name.partition(":")[2]

    @property
    def roots(self) -> tuple[Path, ...]:
        """Folders to search, in order: `--data-dir`, `$FL_BENCH_DATA`, the per-user cache."""
        named = [self.data_dir, os.environ.get("FL_BENCH_DATA")]
        return *(user_path(folder) for folder in named if folder), cache_folder()

    def places(self, folder: str, system: Sequence[Path] = ()) -> list[Path]:
        """Where files may be, in order: each root and `folder` inside it, then the system's own folders."""
        return [*(place for root in self.roots for place in (root, root / folder)), *system]

    def fetch(self, folder: str, download: Callable[[Path], object]) -> Path:
        """Download into a temporary folder beside the final one, then rename: the final one is complete or absent.

        Args:
            folder: name of the final folder inside the first root.
            download: fills the folder it is given and verifies checksums.
        Returns:
            The final folder.
        Raises:
            DataError: nothing could be reached or the bytes are not what they should be.
        """
        root = self.roots[0]
        root.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{folder}-", dir=root))
        try:
            download(temporary)
            temporary.rename(root / folder)
        except (OSError, RuntimeError, ValueError) as error:
            raise DataError(f"downloading {self.name!r} to {root} failed: {type(error).__name__}: {error}") from error
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        return root / folder

    def missing(self, places: Sequence[Path], ways: Sequence[str]) -> DataError:
        """The error for data that are nowhere: the folders looked at, and every way to get the data."""
        looked = "".join(f"\n  looked at {place}" for place in places)
        remedies = "".join(f"\n  to get it: {way}" for way in ways)
        return DataError(f"the files of data set {self.name!r} were not found{looked}{remedies}")


@dataclass(frozen=True)
class Source:
    """A registered data set or family of data sets."""

    facts: Facts
    """What listings show."""
    load: Callable[[Request], Dataset]
    """Loads it, or raises `DataError`."""
    argument: str
    """What follows the colon of a family's name, in brackets where it and the colon may be left out; empty for a single
    data set."""
    locate: Callable[[Request], tuple[bool, str]]
    """Whether it can be loaded without downloading, and where it is or what would bring it."""
    check: Callable[[Request], None]
    """Refuses a request before anything is loaded (`ConfigError`)."""
    digest: Callable[[Request], str] | None
    """SHA-256 of a user's file, which names the content where the name does not."""
    clients: Callable[[Request], int | None]
    """Number of clients that the data came with; None where there are none. Grids deal such data `natural` unless they
    say otherwise."""

    @property
    def optional(self) -> bool:
        """Whether its name alone is a data set, too."""
        return self.argument.startswith("[")


DATASETS: Registry[Source] = Registry("dataset")
"""Data sets by name; `catalogue` imports the built-in ones."""


def dataset(
    name: str,
    *,
    modality: Modality | None = None,
    shape: tuple[int, ...] | None = None,
    classes: int | None = None,
    train: int | None = None,
    test: int | None = None,
    needs: Needs = "bundled",
    family: str = "",
    vocabulary: int | None = None,
    argument: str = "",
    locate: Callable[[Request], tuple[bool, str]] | None = None,
    check: Callable[[Request], None] | None = None,
    digest: Callable[[Request], str] | None = None,
    clients: int | Callable[[Request], int | None] | None = None,
) -> Callable[[Callable[[Request], Dataset]], Callable[[Request], Dataset]]:
    """Register the decorated function as the data set `name`; its docstring's first sentence is the summary.

    Only the name is required; what is stated of shape, classes and sizes lets grids be checked before data are
    loaded. Data sets that share rows, people, or source and task name the same `family`, since a comparison may not
    count them twice; without one, each is its own. The other arguments are those of `Facts` and `Source`.

    Raises:
        ConfigError: the function has no docstring, or the name is taken or holds a colon.
    """

    def add(load: Callable[[Request], Dataset]) -> Callable[[Request], Dataset]:
        lines = (load.__doc__ or "").strip().splitlines()
        if not lines:
            raise ConfigError(f"the loader of data set {name!r} needs a docstring; its first line is shown in listings")
        if ":" in name:
            raise ConfigError(f"the name of data set {name!r} must not hold a colon; use argument= for a family")
        shown = f"{name}[:{argument[1:]}" if argument.startswith("[") else f"{name}:{argument}" if argument else name
        own = family or ("" if argument else name)
        known, counted = (None, clients) if callable(clients) else (clients, lambda _: clients)
        facts = Facts(shown, lines[0].rstrip("."), modality, shape, classes, train, test, needs, own, vocabulary, known)
        DATASETS.register(name)(Source(facts, load, argument, locate or _bundled, check or _anything, digest, counted))
        return load

    return add


def _bundled(_: Request) -> tuple[bool, str]:
    return True, "bundled"


def _anything(_: Request) -> None:
    """Accept every argument."""
