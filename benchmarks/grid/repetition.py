"""Which repetition of a comparison a run is (benchmarks room): its seed, and which parts have another one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fl_bench.streams import Seeds

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, order=True)
class Repetition:
    """Runs of one repetition share all of their randomness, and so are paired; sorted by seed, the plain one first."""

    seed: int
    """Of everything that is not `varied`."""
    varied: tuple[tuple[str, int], ...] = ()
    """Parts of the randomness with a seed of their own, by name of `FACTORS`; sorted."""

    @classmethod
    def of(cls, cell: Mapping[str, Any]) -> Repetition:
        """The repetition of a cell as records keep it."""
        return cls(int(cell["seed"]), tuple(sorted(cell.get("varied", {}).items())))

    @classmethod
    def parse(cls, text: str) -> Repetition:
        """The repetition of a text that `str` made."""
        seed, *varied = text.split("/")
        pairs = (part.partition("=") for part in varied)
        return cls(int(seed), tuple((factor, int(level)) for factor, _, level in pairs))

    def __str__(self) -> str:
        """`3`, or `3/init=7` where the initial weights come from seed 7; without spaces, for lists between spaces."""
        return "/".join([str(self.seed), *(f"{factor}={level}" for factor, level in self.varied)])

    @property
    def shown(self) -> int | str:
        """For a table's column: the number alone where nothing is varied."""
        return str(self) if self.varied else self.seed

    @property
    def seeds(self) -> Seeds:
        """The seed of every part of the randomness."""
        return Seeds.of(self.seed, dict(self.varied))

    def as_dict(self) -> dict[str, Any]:
        """What cells and tables keep of it; `varied` is there only where something is, so that older keys hold."""
        return {"seed": self.seed, **({"varied": dict(self.varied)} if self.varied else {})}
