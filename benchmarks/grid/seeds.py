"""Seeds of a grid and what varies around them (benchmarks room): from text and lists to repetitions."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from fl_bench.errors import ConfigError
from fl_bench.limits import CELLS, WHOLE_NUMBER
from fl_bench.streams import FACTORS

from .configure import blame, known_keys, show_value
from .repetition import Repetition

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def parse_seeds(seeds: str | Sequence[int]) -> list[int]:
    """Seeds from `0-4`, `0,2,5`, `0-2,7` or a list, in the order given.

    Raises:
        ConfigError: anything else, a negative seed, a repeated one, none, or more than a grid has runs.
    """
    if isinstance(seeds, str):
        found: list[int] = []
        for part in seeds.replace(" ", "").split(","):
            match = re.fullmatch(r"(\d{1,9})(?:-(\d{1,9}))?", part)
            first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
            if last < first or last - first > 9999:
                raise ConfigError(f"seeds must look like 0-4 or 0,2,5, found {seeds!r}")
            found += range(first, last + 1)
            refuse_too_many(len(found), "fewer seeds")
    else:
        found = list(seeds)
    if not found or min(found) < 0 or max(found) > WHOLE_NUMBER or len(set(found)) < len(found):
        raise ConfigError(
            f"seeds must be whole numbers from 0 on, at most {WHOLE_NUMBER}, each once, found {show_value(seeds)}"
        )
    return found


def vary_seeds(seeds: Sequence[int], vary: Mapping[str, str | Sequence[int]]) -> list[Repetition]:
    """The repetitions of a grid: every seed, and around it those that differ in one part of the randomness.

    Args:
        seeds: seeds that move all of it.
        vary: the seeds of single parts, by name of `FACTORS`; one that is the seed itself is no further run.
    Raises:
        ConfigError: no such part, seeds as `parse_seeds` refuses them, or a part that would not vary.
    """
    known_keys(vary, list(FACTORS), "vary")
    repetitions = [Repetition(seed) for seed in seeds]
    for factor, wanted in vary.items():
        with blame(f"vary.{factor}"):
            levels = parse_seeds(wanted)
            refuse_too_many(len(seeds) * len(levels), "fewer seeds")
            further = [Repetition(seed, ((factor, level),)) for seed in seeds for level in levels if level != seed]
            if not further:
                raise ConfigError(f"{levels[0]} is the seed of all else already, so nothing varies; name another")
        repetitions += further
        refuse_too_many(len(repetitions), "fewer seeds")
    return repetitions


def refuse_too_many(runs: int, remedy: str) -> None:
    """Refuse a grid of more runs than any may have, before they are made.

    Raises:
        ConfigError: says how many there may be, and what would do.
    """
    if runs > CELLS:
        raise ConfigError(f"a grid may have {CELLS} runs, this one has at least {runs}; {remedy} would do")
