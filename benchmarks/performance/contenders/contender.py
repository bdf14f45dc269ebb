"""What every contender offers (benchmarks room): set up untimed, then one round at a time."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from ..workloads import Dealt, Workload


class Contender(ABC):
    """One way to run a workload.

    Args:
        workload: what a round is.
        dealt: the workload's data.
        device: a torch device.
        seed: of initial weights and batches.
    """

    name: ClassVar[str]
    """What tables call it."""

    @abstractmethod
    def __init__(self, workload: Workload, dealt: Dealt, device: str, seed: int) -> None: ...

    @staticmethod
    def missing(workload: Workload) -> str | None:
        """Why the contender cannot run a workload here, or None when it can."""
        return None

    @property
    def steps(self) -> int | None:
        """Gradient steps of the last round, all models together; None where the contender does not count."""
        return None

    @abstractmethod
    def round(self) -> float:
        """Run one round and return the test accuracy after it, percent; on a GPU its work is done on return."""

    def close(self) -> None:  # noqa: B027 - most hold nothing
        """Give back processes and the like."""


def fedavg_only(workload: Workload) -> str | None:
    """For frameworks whose adapter here runs FedAvg: why a workload of another method is left out."""
    return None if workload.method == "fedavg" else "the adapter runs FedAvg"
