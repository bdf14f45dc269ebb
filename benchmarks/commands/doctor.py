"""What this machine has (benchmarks room): versions, devices, threads, data."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from fl_bench.errors import FLBenchError

from ...datasets.catalogue import available, listing
from ..running.local import THREADS
from ..running.provenance import machine, software

if TYPE_CHECKING:
    from pathlib import Path


def examine(data_dir: Path | None) -> list[dict[str, Any]]:
    """A row per fact: what, whether it is well, and the finding; imports torch to see its devices.

    Args:
        data_dir: first folder to look for data in.
    """
    versions = software()
    rows = [
        {"what": "fl-bench", "ok": True, "found": versions["fl_bench"] + _revision(versions)},
        {"what": "python", "ok": True, "found": versions["python"]},
        *(
            {"what": name, "ok": text is not None, "found": text or "missing"}
            for name, text in versions["packages"].items()
        ),
        *({"what": name, "ok": True, "found": str(value)} for name, value in machine().items()),
        *_devices(),
        {"what": "thread settings", "ok": True, "found": _threads()},
    ]
    for facts in listing():
        if ":" in facts.name:  # a family: there is nothing to look for before it has an argument
            continue
        try:
            found, where = available(facts.name, data_dir=data_dir)
        except FLBenchError as error:
            found, where = False, str(error)
        rows.append({"what": f"data: {facts.name}", "ok": found, "found": where})
    return rows


def _devices() -> list[dict[str, Any]]:
    try:
        import torch
    except Exception as error:
        return [{"what": "torch", "ok": False, "found": f"cannot be imported: {error}"}]
    if not torch.cuda.is_available():
        return [{"what": "GPU", "ok": True, "found": "none; runs use the CPU"}]
    rows = []
    for number in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(number)
        text = f"{torch.cuda.get_device_name(number)}, {free / 2**30:.1f} of {total / 2**30:.1f} GiB free"
        rows.append({"what": f"cuda:{number}", "ok": True, "found": text})
    return rows


def _revision(versions: dict[str, Any]) -> str:
    if versions["revision"] is None:
        return ""
    return f", revision {versions['revision'][:10]}{' with changes' if versions['dirty'] else ''}"


def _threads() -> str:
    values = [f"{name}={os.environ[name]}" for name in THREADS if name in os.environ]
    return f"{', '.join(values) or 'not set'}; workers use one thread each whatever these say"
