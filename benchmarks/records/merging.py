"""Records of several results folders as those of one (benchmarks room): all of them, or none where two contradict."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, NamedTuple

from fl_bench.errors import ConfigError, DataError

from .bundle import BESIDE
from .declarations import agreed, as_text, read_declarations
from .models import MODELS, models_of, read_models
from .reading import beside_clocks
from .store import Store, read_results
from .texts import FILES
from .writing import in_one_step, write_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from .record import Record

SHOWN = 10
"""Contradictions that are named one by one."""


class Merged(NamedTuple):
    """What became of several folders."""

    runs: int
    """Records that were written."""
    several: int
    """How many of them more than one folder had."""
    declared: bool
    """Whether the folders agree in what was declared."""


def merge_records(sources: Sequence[Path], out: Path, beside: Mapping[str, str]) -> Merged:
    """Write the records of several folders or bundles into a new folder, in one step.

    A run that several have must be the same in all of them but for its clocks, machine and versions; the first one's is
    written, with the models of the first that kept some. What was declared of comparisons comes along, unless two
    folders end with different declarations of one grid.

    Args:
        sources: folders or bundles.
        out: the folder to make.
        beside: the texts of other files of the folder, by name.
    Raises:
        ConfigError: a source has no records, or there is something at `out`.
        DataError: a record cannot be read, or a run differs between sources; nothing is written.
        StorageError: the disk does not take it; nothing is left of it.
    """
    if out.exists():
        raise ConfigError(f"{out} is there already; name a folder to make with --out")
    found: dict[str, tuple[Path, Record]] = {}
    models: dict[str, Path] = {}
    several, wrong = set(), []
    for source in sources:
        records, damaged = read_results(source, ("rounds", "clients"))
        if damaged:
            raise DataError(
                f"{damaged[0].problem}. Nothing was merged; `fl-bench fsck {source}` names all such records"
            )
        for record in records:
            first, other = found.setdefault(record.name, (source, record))
            if (kept := models_of(record)) is not None:
                read_models(kept).check()
                models.setdefault(record.name, kept)
            if other is not record:
                several.add(record.name)
                if parts := differing(other, record):
                    wrong.append(f"{record.name} differs between {first} and {source} in {', '.join(parts)}")
                other.let_go()
            record.let_go()
    if wrong:
        more = [] if len(wrong) <= SHOWN else [f"and {len(wrong) - SHOWN} more"]
        told = "".join(f"\n  {line}" for line in [*wrong[:SHOWN], *more])
        raise DataError(
            f"nothing was merged: a run must be the same everywhere but for its clocks, machine and versions.{told}"
        )
    declared = agreed([read_declarations(Store(source)) for source in sources])
    texts = {**beside, **({BESIDE: as_text(declared)} if declared else {})}
    with in_one_step(out) as temporary:
        for name, text in texts.items():
            write_text(temporary / name, text)
        for name, (_, record) in found.items():
            folder = temporary / "runs" / name
            folder.mkdir(parents=True)
            own = record.texts()
            for file in FILES:
                write_text(folder / file, own[file])
            if name in models:
                shutil.copyfile(models[name], folder / MODELS)
    return Merged(len(found), len(several), declared is not None)


def differing(one: Record, other: Record) -> list[str]:
    """What two records of one run differ in, whoever made them and when: names in run.json, or tables."""
    left, right = beside_clocks(one), beside_clocks(other)
    found = []
    for name in sorted({*left, *right} - {"provenance"}):
        ours, theirs = left.get(name), right.get(name)
        if ours == theirs:
            continue
        if isinstance(ours, dict) and isinstance(theirs, dict):
            found += [f"{name}.{key}" for key in sorted({*ours, *theirs}) if ours.get(key) != theirs.get(key)]
        else:
            found.append(name)
    return found
