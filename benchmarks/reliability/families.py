"""All faults (benchmarks room), by family: a family is a file of this folder, and a result file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import disks, folders, kills, memory, network, ray, sharing, slurm, transit

if TYPE_CHECKING:
    from .fault import Fault

FAMILIES: dict[str, tuple[Fault, ...]] = {
    "kills": kills.FAULTS,
    "disks": disks.FAULTS,
    "sharing": sharing.FAULTS,
    "folders": folders.FAULTS,
    "memory": memory.FAULTS,
    "transit": transit.FAULTS,
    "ray": ray.FAULTS,
    "network": network.FAULTS,
    "slurm": slurm.FAULTS,
}
"""The faults of each family, in the order of the page."""
