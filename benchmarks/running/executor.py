"""What an executor is (benchmarks room): it runs cells somewhere, says what happens, and leaves a record of each."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal, Protocol

from fl_bench.errors import ConfigError, FLBenchError

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence
    from types import ModuleType

    from ..grid.cell import Cell
    from ..records.store import Store
    from .runner import Ending, Options


ELSEWHERE = "by another process"
"""Where a cell ended that had not to be run here."""


@dataclass(frozen=True)
class Event:
    """Something that happened to a cell; or that an executor has to say beside, and then the cell is any (`said`)."""

    kind: Literal["started", "round", "ended", "skipped", "waiting", "said"]
    cell: Cell
    round: int = 0
    accuracy: float | None = None
    """Mean client accuracy of the deployed view after `round`, percent."""
    ending: Ending | None = None
    reason: str = ""
    """Why a cell was skipped or is waited for; of one that ended elsewhere, where; or what there is to say."""
    seconds: float = 0.0
    """Wall seconds since the cell was started here."""


class ExecutorLost(FLBenchError):
    """What runs the cells is gone, such as the head of a cluster; the same command continues, once it is back."""


class Executor(Protocol):
    """Runs cells and says what happens: a frozen dataclass of its settings, registered with `@executor(name)`.

    `--executor "name[setting=value]"` configures one, as brackets configure methods.
    """

    def slots(self) -> list[str]:
        """The torch device of each cell that runs at a time, as far as it is known before anything starts.

        It is asked for before a run, and for the estimates of `--dry-run`. At least one.

        Raises:
            ConfigError: the settings name what is not there, or a package that the executor needs is not installed.
        """

    def run(
        self, cells: Sequence[Cell], store: Store, options: Options, *, timeout: float | None = None
    ) -> Generator[Event, None, None]:
        """Run the cells, in this order as far as possible; each leaves a record, or is skipped with a reason.

        Closing the iterator, or an exception in it, stops what is running, which continues from its checkpoints the
        next time.

        Args:
            cells: what to run.
            store: where records go.
            options: how to run them; an executor replaces `device` by its own.
            timeout: wall seconds that a cell may take; a cell that takes longer is recorded as `timeout`. They count
                from when libraries and data are loaded. None: as long as it takes.
        Raises:
            RecordError: a record cannot be written.
            ConfigError: what runs the cells cannot start.
            ExecutorLost: what runs the cells is gone.
        """


def check_keeps_models(executor: Any, asked: str) -> None:
    """Refuse to keep models where workers do not write into the results folder themselves.

    An executor whose workers do says so by a class attribute, `keeps_models = True`.

    Args:
        executor: the executor.
        asked: its name, as the user gave it.
    Raises:
        ConfigError: it brings records back, but no models.
    """
    if not getattr(executor, "keeps_models", False):
        raise ConfigError(
            f"models are kept where workers share the results folder, and those of --executor {asked} send records "
            "only; use local or slurm, or leave out --keep-models"
        )


def package_of(extra: str, package: str | None = None, *, asked: str | None = None) -> ModuleType:
    """The package that an executor, a tracker or a form of files of ours needs, which an extra of its name installs.

    Args:
        extra: its name, and the extra's.
        package: what to import; called like it by default.
        asked: what the user asked for; None: `--executor` with the name.
    Raises:
        ConfigError: it is not installed; says how to install it.
    """
    try:
        return import_module(package or extra)
    except ImportError as error:
        raise ConfigError(
            f"{asked or f'--executor {extra}'} cannot import its package ({error}): pip install 'fl-bench[{extra}]'"
        ) from None
