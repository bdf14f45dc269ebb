"""The executor `subprocess` (benchmarks room): workers of the worker protocol on this machine, which share no folder.

It runs cells as other machines do, orders and records as text through a pipe, and so shows what they would do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fl_bench.errors import ConfigError

from ..grid.executors import executor
from .attending import attend
from .local import choose_devices, shared_out
from .remote import Remote

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from ..grid.cell import Cell
    from ..records.store import Store
    from .executor import Event
    from .runner import Options


@executor("subprocess")
@dataclass(frozen=True)
class Subprocess:
    """Runs cells in processes of this machine that share no folder with each other, as machines far apart do."""

    jobs: int | None = None
    """Runs at a time (`--jobs`); null: one per core, or per GPU."""
    device: str = "auto"
    """Where runs compute (`--device`): `auto`, `cpu`, `cuda` or `cuda:<n>`."""
    kept_every: float = 60.0
    """Seconds between checkpoints that a run sends."""

    def __post_init__(self) -> None:
        if not self.kept_every >= 0:
            raise ConfigError(f"subprocess.kept_every must not be below 0 seconds, got {self.kept_every:g}")

    def slots(self) -> list[str]:
        """The device of each worker; see `choose_devices`."""
        return choose_devices(self.device, self.jobs)

    def run(
        self, cells: Sequence[Cell], store: Store, options: Options, *, timeout: float | None = None
    ) -> Generator[Event, None, None]:
        """Run the cells; see `Executor.run`."""
        devices = self.slots()[: len(cells)]
        options = shared_out(options, len(devices))
        yield from attend(Remote(cells, store, options, timeout=timeout, kept_every=self.kept_every), devices)
