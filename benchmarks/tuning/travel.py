"""The ledger's way (benchmarks room): from beside a tuned grid into the folder of the grid's results."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fl_bench.errors import ConfigError
from fl_bench.files import write_file

from ..grid.grid import LedgerReference
from .ledger import NAME, read_ledger, seeds_in_words, sha256

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from ..grid.grid import Grid, GridFile
    from .ledger import Ledger


def carried(file: GridFile, path: Path) -> tuple[Ledger, str] | None:
    """The ledger that a grid names, checked, and its text; None where it names none.

    Args:
        file: the grid.
        path: its file; the ledger is looked for from its folder on.
    Raises:
        ConfigError: the ledger is another than the grid was written with.
        DataError: it is missing, no ledger, or does not agree with itself.
    """
    if not isinstance(file.tuning, LedgerReference):
        return None
    place = path.parent / file.tuning.ledger
    ledger, text = read_ledger(place)
    if sha256(text) != file.tuning.sha256:
        raise ConfigError(
            f"{path} was written with another ledger than {place}: it names one with sha256 "
            f"{file.tuning.sha256[:12]}..., found {sha256(text)[:12]}...; restore the ledger, or tune again "
            "(`fl-bench tune`)"
        )
    return ledger, text


def check_seeds(grid: Grid, ledger: Ledger) -> None:
    """Refuse final runs with seeds that chose the settings.

    Raises:
        ConfigError: names the seeds.
    """
    tuned = {seed for tuning in ledger.tunings for seed in tuning.seeds}
    used = {cell.seed for cell in grid.cells}
    used |= {level for cell in grid.cells for _, level in cell.repetition.varied}
    if shared := sorted(tuned & used):
        raise ConfigError(
            f"{seeds_in_words(shared)} chose the settings of {grid.name}, so that they cannot judge them; give --seeds "
            f"others, such as {seeds_in_words(ledger.final_seeds).partition(' ')[2]}"
        )


def leave(text: str, results: Path) -> None:
    """Put a ledger into a results folder, before the first run of its grid; one that is there stays.

    Raises:
        ConfigError: the folder has the ledger of another tuning.
        DataError: what is there cannot be read.
        StorageError: the folder does not take it.
    """
    place = results / NAME
    if not place.exists():
        write_file(place, text)
        return
    known, present = read_ledger(place)
    if present != text:
        raise ConfigError(
            f"{place} is the ledger of another tuning (of the grid {known.grid.name}, {known.finished}), and a results "
            "folder has one; name another folder with --out"
        )


def ledger_in(results: Path) -> Ledger | None:
    """The ledger of a results folder; None where it has none.

    Raises:
        DataError: it is no ledger, or does not agree with itself.
    """
    place = results / NAME
    return read_ledger(place)[0] if place.exists() else None


def agreed_ledger(folders: Iterable[Path]) -> str | None:
    """The text of the ledger of several results folders, as far as they have one; None where none has, or they differ.

    Raises:
        DataError: one is no ledger, or does not agree with itself.
    """
    texts = {read_ledger(folder / NAME)[1] for folder in folders if (folder / NAME).exists()}
    return texts.pop() if len(texts) == 1 else None
