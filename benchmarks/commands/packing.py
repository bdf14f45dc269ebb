"""The commands `fl-bench pack` and `fl-bench unpack` (benchmarks room): records as one file, and as folders again."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated

import typer

from fl_bench.errors import ConfigError, StorageError

from ..tables.terminal import say


def pack(
    results: Annotated[Path, typer.Argument(metavar="[RESULTS]", help="Folder of records.")] = Path("results"),
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", metavar="FILE.tar.xz", help="Where to write. Default: RESULTS/records.tar.xz."),
    ] = None,
    remove: Annotated[
        bool, typer.Option("--remove", help="Remove the folders of the records once the bundle was read back.")
    ] = False,
) -> None:
    """Write all records of a folder into one compressed file, which every command reads like the folder.

    The same records give the same file, byte for byte. It is an ordinary tar archive, and nothing in it is executed.

    \b
    fl-bench pack results
    fl-bench pack results --remove
    fl-bench pack results -o mine.tar.xz && fl-bench compare mine.tar.xz
    """
    from ..records.bundle import SUFFIX, is_bundle, read_bundle, write_bundle
    from ..records.store import Store, read_results
    from ..tables.values import show_bytes

    store = Store(results)
    path = store.bundle if out is None else out
    if remove and out is not None:
        raise ConfigError("--remove takes away what RESULTS/records.tar.xz holds; leave out --out")
    if not is_bundle(path):
        raise ConfigError(f"--out {path}: the name of a bundle ends in {SUFFIX}")
    texts, folders = {record.name: record.texts() for record in read_results(results)}, store.folders()
    write_bundle(path, texts)
    if read_bundle(path) != texts:
        raise StorageError(f"{path} does not read back as it was written; is the disk sound?")
    say(f"packed {len(texts)} records into {path} ({show_bytes(path.stat().st_size)})")
    if remove:
        for folder in folders:
            shutil.rmtree(folder)
            for place in (folder.parent, store.runs):
                if not any(place.iterdir()):
                    place.rmdir()
        say(f"removed the folders of {len(folders)} records; `fl-bench unpack {results}` restores them")


def unpack(
    results: Annotated[
        Path, typer.Argument(metavar="[RESULTS]", help="Folder with a records.tar.xz, or a bundle.")
    ] = Path("results"),
) -> None:
    """Restore the folders of the records in a bundle, beside it; the bundle and folders that are there stay.

    \b
    fl-bench unpack results
    fl-bench unpack mine.tar.xz
    """
    from ..records.store import Store

    store = Store(results)
    if not store.bundle.is_file():
        raise ConfigError(f"there is no bundle {store.bundle}; `fl-bench pack` makes one of a results folder")
    written = store.unpack()
    say(f"wrote {len(written)} records of {store.bundle} below {store.runs}")
