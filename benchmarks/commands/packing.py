"""The commands `fl-bench pack` and `fl-bench unpack` (benchmarks room): records as one file, and as folders again."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - typer reads annotations when it runs
from typing import Annotated

import typer

from fl_bench.errors import ConfigError, DataError, StorageError

from ..tables.terminal import say
from .damaged import say_damaged
from .options import FAILED, RESULTS


def pack(
    results: Annotated[Path, typer.Argument(metavar="[RESULTS]", help="Folder of records.")] = RESULTS,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE.tar.xz", help="File to write. Default: RESULTS/records.tar.xz."),
    ] = None,
    remove: Annotated[
        bool,
        typer.Option("--remove", help="Remove the folders of the records after the bundle was read back and compared."),
    ] = False,
) -> None:
    """Pack all records of a folder into one compressed file.

    Every command reads the file like the folder. The same records give the same file, byte for byte. It is an
    ordinary tar archive, and nothing in it is executed. Saved models are left out: they stay in the folders of
    their records, with or without --remove.

    \b
    fl-bench pack results
    fl-bench pack results --remove
    fl-bench pack results --out mine.tar.xz && fl-bench compare mine.tar.xz
    """
    from ..records.bundle import SUFFIX, is_bundle, read_bundle, write_bundle
    from ..records.declarations import as_text, read_declarations
    from ..records.index import place_of
    from ..records.models import models_of
    from ..records.removal import remove_packed
    from ..records.store import Store, read_results
    from ..statistics.verdicts import many
    from ..tables.values import show_bytes

    store = Store(results)
    path = store.bundle if out is None else out
    if remove and out is not None:
        raise ConfigError("--remove takes away what RESULTS/records.tar.xz holds; leave out --out")
    if not is_bundle(path):
        raise ConfigError(f"--out {path}: the name of a bundle ends in {SUFFIX}")
    records, damaged = read_results(results, ("rounds", "clients"))
    for one in damaged:
        if path == store.bundle and store.packed.of(place_of(one.name)):
            raise DataError(
                f"{one.problem}. The bundle has a record of this run, which packing would lose: repair or move the "
                f"damaged one first (`fl-bench fsck {results} --quarantine`)"
            )
    say_damaged([one.problem for one in damaged])
    texts = {record.name: dict(record.texts()) for record in records}
    declared = read_declarations(store)
    write_bundle(path, texts, as_text(declared) if declared else None)
    packed = read_bundle(path)
    if packed != texts:
        raise StorageError(f"{path} does not read back as it was written; is the disk sound?")
    say(f"packed {len(texts)} records into {path} ({show_bytes(path.stat().st_size)})")
    if remove:
        removed = remove_packed(store.runs, packed, store.held)
        say(f"removed the folders of {len(removed)} records; `fl-bench unpack {results}` restores them")
    with_models = sum(models_of(record) is not None for record in records)
    if with_models:
        say(f"not packed: the models of {many(with_models, 'run')}, which stay in the folders of their records")
    raise typer.Exit(FAILED if damaged else 0)


def unpack(
    results: Annotated[
        Path, typer.Argument(metavar="[RESULTS]", help="Folder with a records.tar.xz, or a bundle.")
    ] = RESULTS,
) -> None:
    """Restore the record folders from a bundle.

    The folders are written beside the bundle. The bundle and existing folders are kept.

    \b
    fl-bench unpack results
    fl-bench unpack mine.tar.xz
    """
    from ..records.declarations import unpack_declarations
    from ..records.store import Store

    store = Store(results)
    if not store.bundle.is_file():
        raise ConfigError(f"there is no bundle {store.bundle}; `fl-bench pack` makes one of a results folder")
    written, damaged = store.unpack()
    say(f"wrote {len(written)} records of {store.bundle} below {store.runs}")
    path = unpack_declarations(store)
    if path is not None:
        say(f"wrote what was declared of their comparison to {path}")
    say_damaged([one.problem for one in damaged])
    raise typer.Exit(FAILED if damaged else 0)
