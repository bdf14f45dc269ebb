"""The executor `local` (benchmarks room): processes of this machine, one for each core or GPU."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ..grid.executors import executor
from . import local
from .provenance import available_cores

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from ..grid.cell import Cell
    from ..records.store import Store
    from .executor import Event
    from .runner import Options


@executor("local")
@dataclass(frozen=True)
class Local:
    """Runs cells in processes of this machine."""

    keeps_models: ClassVar[bool] = True

    jobs: int | None = None
    """Runs at a time (`--jobs`); null: one per core, on GPUs as many as memory and cores are there for."""
    device: str = "auto"
    """Where runs compute (`--device`): `auto`, `cpu`, `cuda` or `cuda:<n>`."""

    def slots(self) -> list[str]:
        """The device of each job to start with; see `choose_devices`."""
        return local.choose_devices(self.device, self.jobs)

    def run(
        self, cells: Sequence[Cell], store: Store, options: Options, *, timeout: float | None = None
    ) -> Generator[Event, None, None]:
        """Run the cells; see `Executor.run`."""
        most = 0 if self.jobs else available_cores()
        return local.run_cells(cells, store, options, devices=self.slots(), most=most, timeout=timeout)
