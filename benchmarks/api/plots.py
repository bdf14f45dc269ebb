"""Figures as Python objects (benchmarks room): those of `fl-bench figures`, shown by notebooks where they stand."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fl_bench.errors import ConfigError, FLBenchError

from ..figures.gallery import KINDS, OF_COMPARISON, from_records
from ..figures.style import check_matplotlib

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from matplotlib.figure import Figure

    from ..figures.gallery import Drawing
    from ..records.record import Record
    from .compared import Compared


class Plots:
    """Figures of results, a method per kind: `ranks`, `effects`, `matrix`, `profiles`, `curves`, `costs`, `deciles`,
    `tradeoff`, `clusters`, `leakage`, `sweep`.

    Each takes `width`, inches of a figure for a paper (3.5 is a column, 7 a page; no title then), `dataset`, where
    there are several, and `control`. It returns a matplotlib figure; `figure.savefig("curves.pdf")` writes it.
    """

    def __init__(self, records: Sequence[Record], compare: Callable[..., Compared]) -> None:
        self._records = records
        self._compare = compare

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *KINDS]

    def __getattr__(self, kind: str) -> Callable[..., Figure]:
        if kind not in KINDS:
            raise AttributeError(f"no figure is called {kind!r}; there are {', '.join(KINDS)}")

        def draw(*, width: float | None = None, dataset: str | None = None, control: str | None = None) -> Figure:
            return self.draw(kind, width=width, dataset=dataset, control=control)

        return draw

    def draw(
        self, kind: str, *, width: float | None = None, dataset: str | None = None, control: str | None = None
    ) -> Figure:
        """Draw a figure.

        Args:
            kind: one of `fl-bench figures --kinds`.
            width: inches of a figure for a paper; None: for a screen, with a title.
            dataset: the data set, where there is a figure for each.
            control: the method that others are compared with; None: as declared, or `cosmos`.
        Raises:
            ConfigError: matplotlib is not installed, there is no such figure of these results, or there are several.
        """
        check_matplotlib()
        found = [drawing for drawing in self._possible(kind, width, control) if drawing.kind == kind]
        if dataset is not None:
            found = [drawing for drawing in found if dataset in drawing.title]
        if not found:
            raise ConfigError(f"there is nothing to draw as {kind}: {KINDS[kind]}")
        if len(found) > 1:
            titles = "; ".join(drawing.title.partition(":")[0] for drawing in found)
            raise ConfigError(f"there are {len(found)} figures of that kind, name one with `dataset`: {titles}")
        return found[0].draw()

    def _possible(self, kind: str, width: float | None, control: str | None) -> list[Drawing]:
        try:
            compared = self._compare(control)
        except FLBenchError:
            if kind in OF_COMPARISON:
                raise
            return from_records(self._records, None, "last", [control] if control else [], width)[0]
        return from_records(self._records, compared.result, compared.selection, width=width)[0]
