"""Records as Python objects (benchmarks room): data frames, comparisons, figures and the page of a results folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from fl_bench.errors import unknown_name

from ..commands.options import RESULTS
from ..commands.question import Question, ask_records
from ..export.export import export_records
from ..export.frames import board_frame, clients_frame, identity, rounds_frame, runs_frame
from ..leaderboard.naming import only_settings
from ..records.declarations import read_declarations
from ..records.shared_rows import overlaps_in
from ..records.store import Store, read_results
from ..statistics.comparison import compare
from ..tables.terminal import nearby
from ..tuning.travel import ledger_in
from .board import Board
from .compared import Compared
from .models import model_of, run_with_models
from .plots import Plots

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import pandas as pd
    from torch import nn

    from ...methods.base import Method
    from ..grid.cell import Cell
    from ..leaderboard.reported import Selection
    from ..records.record import Record


def load(results: str | Path = RESULTS) -> Results:
    """Read a folder of results, or a bundle.

    Args:
        results: what `fl-bench run --out` wrote, or a `records.tar.xz`.
    Raises:
        ConfigError: it has no records.
        DataError: none can be read. Those that cannot are named in `Results.damaged`.
    """
    records, damaged = read_results(Path(results))
    return Results(records, Store(Path(results)).results, tuple(one.problem for one in damaged))


class Results:
    """Records of runs. Nothing is averaged or left out but where a method's documentation says so.

    Args:
        records: at least one, whatever their status.
        folder: where they are from, or their bundle is; it may hold the ledger of a tuning, and what was
            declared of the comparison.
        damaged: why records of the folder could not be read, a sentence each.
    """

    def __init__(self, records: Sequence[Record], folder: Path, damaged: Sequence[str] = ()) -> None:
        self.records = list(records)
        """The records themselves."""
        self.folder = folder
        """Where they are from."""
        self.damaged = tuple(damaged)
        """Why records of the folder could not be read, a sentence each."""

    @classmethod
    def of_cells(cls, cells: Iterable[Cell], store: Store) -> Results:
        """The records of a grid's cells; a cell without one is left out."""
        found = [record for cell in cells if (record := store.find(cell)) is not None]
        return cls(found, store.results)

    def only(
        self,
        *,
        datasets: Iterable[str] | str | None = None,
        methods: Iterable[str] | str | None = None,
        settings: Iterable[str] | str | None = None,
    ) -> Results:
        """The results of some data sets, methods or settings; one needs no list.

        Args:
            datasets: names as in the columns of `runs`; all by default.
            methods: the same.
            settings: as `--settings` takes them, `["alpha=0.1"]`, or as in the columns of `runs`.
        Raises:
            ConfigError: no run has such a data set, method or setting.
        """
        wanted = {"dataset": datasets, "method": methods}
        keep = {name: set(_several(values)) for name, values in wanted.items() if values is not None}
        for name, values in keep.items():
            known = list(dict.fromkeys(identity(record)[name] for record in self.records))
            for value in sorted(values - set(known)):
                raise unknown_name({"dataset": "data set"}.get(name, name), value, known)
        asked = None if settings is None else ",".join(_several(settings))
        found = [
            record
            for record in only_settings(self.records, asked)
            if all(identity(record)[key] in keep[key] for key in keep)
        ]
        return Results(found, self.folder, self.damaged)

    @property
    def runs(self) -> pd.DataFrame:
        """A row per run: `status`, `reason`, `accuracy` of the deployed models after the last round (percent, mean over
        clients; none where the run is not done), `seconds` of wall time, `key`."""
        return runs_frame(self.records)

    @property
    def rounds(self) -> pd.DataFrame:
        """A row per run and round: `accuracy` of the deployed models (percent, mean over clients), `validation` of the
        same models, then the columns of `rounds.csv` (docs/records.md)."""
        return rounds_frame(self.records)

    @property
    def clients(self) -> pd.DataFrame:
        """A row per run, round and client: `accuracy` of the deployed models (percent), then the columns of
        `clients.csv`."""
        return clients_frame(self.records)

    def model(
        self,
        run: str | None = None,
        *,
        client: int,
        method: type[Method[Any]] | None = None,
        plugins: Sequence[str | Path] = (),
    ) -> nn.Module:
        """The net that a client deploys at the end of a run which kept its models (`keep_models=True`).

        It is the client's own, its cluster's or the server's, as the method has it: the one whose accuracy is recorded.
        No data are needed, and nothing in the file is executed.

        Args:
            run: a name as `fl-bench show` takes it, `"digits/cosmos-0"`; None where only one run kept models.
            client: the client, by its number in `clients`.
            method: the class, where it was run as one (`methods=[MyMethod]`).
            plugins: the plugin files, where it was run with some.
        Returns:
            A net on the CPU in evaluation mode, samples of shape (batch, ...) to logits of shape (batch, classes).

        Raises:
            ConfigError: there is no such run or client, the run kept no models, or its method is not known.
            DataError: the file is damaged.
        """
        return model_of(run_with_models(self.records, run), client, method, plugins)

    def leaderboard(self, select: Selection = "last") -> Board:
        """A row per data set, setting, method and view, the columns of the leaderboard files (docs/records.md) and
        `setting_name`, such as `alpha=0.1`, where a data set has several. A notebook shows the main columns, of the
        deployed models.

        Args:
            select: the round that is reported: `last`, or the best by validation accuracy (`val`).
        Raises:
            DataError: records of one comparison contradict each other.
        """
        return Board(board_frame(self.records, select, ledger_in(self.folder)))

    def export(self, to: str, out: str | Path, *, select: Selection = "last") -> list[Path]:
        """Write the results for another tool, as `fl-bench export` does.

        Args:
            to: `csv` or `parquet`, the four tables above; or a tracker, `tensorboard`, `mlflow`, `trackio` or `wandb`,
                each run as one of theirs, in files: nothing is sent.
            out: the folder.
            select: the round that the leaderboard reports.
        Returns:
            What was written.

        Raises:
            ConfigError: there is no such target, its package is missing, or a tracker's folder is not empty.
            StorageError: the disk does not take it.
        """
        return export_records(self.records, to, Path(out), select=select, ledger=ledger_in(self.folder))

    def compare(
        self,
        control: str | None = None,
        *,
        methods: Iterable[str] | None = None,
        datasets: Iterable[str] | None = None,
        alpha: float | None = None,
        rope: float | None = None,
        on_missing: str = "refuse",
        select: Selection | None = None,
    ) -> Compared:
        """What may be claimed, as `fl-bench compare` says it; what was declared before the runs is followed.

        Args:
            control: the method that the others are compared with; None: as declared, or `cosmos`.
            methods: only these.
            datasets: only these.
            alpha: level of all tests and intervals; None: as declared, or 0.05.
            rope: half width of the region of practical equivalence, points; None: as declared, or 1.
            on_missing: what to do where a run is missing: `refuse`, `complete-blocks` or `complete-methods`.
            select: the round that is reported.
        Raises:
            ConfigError: a name is unknown, or a number impossible.
            DataError: runs are missing, or records contradict each other.
        """
        question = Question(
            control=control,
            alpha=alpha,
            rope=rope,
            select=select,
            on_missing=on_missing,
            methods=None if methods is None else ",".join(methods),
            datasets=None if datasets is None else ",".join(datasets),
        )
        declared = read_declarations(Store(self.folder))
        asked = ask_records(
            self.records, declared, question, ledger=ledger_in(self.folder), overlaps=overlaps_in(self.folder)
        )
        return Compared(compare(asked.table, asked.options, asked.plan), asked.selection)

    @property
    def plot(self) -> Plots:
        """Figures: `results.plot.curves()`, `results.plot.costs(width=3.5)`; see `Plots`."""
        return Plots(self.records, self.compare)

    def __len__(self) -> int:
        return len(self.records)

    def __repr__(self) -> str:
        runs = self.runs
        done = int((runs["status"] == "done").sum()) if len(runs) else 0
        return f"<{len(runs)} runs in {nearby(str(self.folder))}, {done} of them done>"

    def _repr_html_(self) -> str:
        if not self.records:
            return f"<p>{repr(self).strip('<>')}</p>"
        return f"<p>{repr(self).strip('<>')}</p>{self.leaderboard()._repr_html_()}"


def _several(values: Iterable[str] | str) -> list[str]:
    return [values] if isinstance(values, str) else list(values)
