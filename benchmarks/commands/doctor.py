"""The command `fl-bench doctor` (benchmarks room): what this machine has: versions, devices, threads, data."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from fl_bench.errors import FLBenchError

from ..tables.terminal import make_console
from .options import AsJson, DataDir, Plugins  # noqa: TC001 - typer reads annotations when it runs

if TYPE_CHECKING:
    from pathlib import Path


def doctor(data_dir: DataDir = None, plugin: Plugins = None, as_json: AsJson = False) -> None:
    """Show versions, devices, threads and data of this machine.

    \b
    fl-bench doctor
    """
    from ..grid.plugins import load_plugins
    from ..tables.printing import print_json, print_table

    load_plugins(plugin or [])
    rows = examine(data_dir)
    if as_json:
        print_json(rows)
    else:
        print_table(make_console(), rows)


def examine(data_dir: Path | None) -> list[dict[str, Any]]:
    """A row per fact: what, whether it is well, and the finding; imports torch to see its devices.

    Args:
        data_dir: first folder to look for data in.
    """
    from ...datasets.catalogue import available, listing
    from ..running.provenance import machine, software

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
    from ..running.local import THREADS

    values = [f"{name}={os.environ[name]}" for name in THREADS if name in os.environ]
    return f"{', '.join(values) or 'not set'}; workers use one thread each whatever these say"
