"""Where numbers come from (benchmarks room): versions, revision, machine; the same for every run of a process."""

from __future__ import annotations

import os
import platform
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import fl_bench
from fl_bench.limits import memory_bytes

PACKAGES = ("torch", "torchvision", "numpy", "scipy", "scikit-learn", "pandas", "pydantic")
"""Packages whose versions a record names."""


def provenance(device: str) -> dict[str, Any]:
    """What a record says of the code and machine that made it; imports torch.

    Args:
        device: the torch device of the run.
    """
    import torch  # only processes that train come here

    gpu = torch.cuda.get_device_name(device) if device.startswith("cuda") else None
    return {
        **software(),
        **machine(),
        "device": device,
        "gpu": gpu,
        "torch_threads": torch.get_num_threads(),
    }


def software() -> dict[str, Any]:
    """Versions of fl-bench, Python and packages, and the revision where fl-bench runs from a checkout."""
    return {
        "fl_bench": fl_bench.__version__,
        **revision(),
        "python": platform.python_version(),
        "packages": {name: package_version(name) for name in PACKAGES},
    }


def machine() -> dict[str, Any]:
    """The processor, cores available, memory and operating system."""
    return {
        "cpu": cpu_model(),
        "cores": available_cores(),
        "memory_gib": memory_gib(),
        "system": f"{platform.system()} {platform.release().partition('-')[0]}",
    }


def available_cores() -> int:
    """Cores that this process may use, which may be fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def memory_gib() -> float | None:
    """Physical memory in GiB, to one decimal; None where the system does not say."""
    memory = memory_bytes()
    return None if memory is None else round(memory / 2**30, 1)


def cpu_model() -> str:
    """The processor's name."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def package_version(name: str) -> str | None:
    """The installed version of a package; None when it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


@cache
def revision() -> dict[str, Any]:
    """The git revision of the checkout that fl-bench is imported from, and whether files differ from it.

    Records and tables are output: files below `results/` do not make a checkout dirty. Nothing is said (None) where
    there is no checkout or no git.
    """
    rooms = Path(fl_bench.__file__).resolve().parent
    root = next((folder for folder in (rooms, rooms.parent) if (folder / ".git").exists()), None)
    if root is None:
        return {"revision": None, "dirty": None}
    try:
        head = _git(root, "rev-parse", "HEAD")
        changes = _git(root, "status", "--porcelain", "--untracked-files=no", "--", ".", ":!results")
    except (OSError, subprocess.SubprocessError):
        return {"revision": None, "dirty": None}
    return {"revision": head, "dirty": bool(changes)}


def _git(root: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=True, timeout=10)
    return done.stdout.strip()
