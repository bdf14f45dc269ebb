"""The handshake (benchmarks room): what numbers depend on beside the cell, here and on a node, and where they differ.

Records are the same to the byte, but for clocks and the machine, where none of this differs.
"""

from __future__ import annotations

import platform
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fl_bench.errors import ConfigError, FLBenchError

from ...datasets.catalogue import load_dataset
from .provenance import software

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..grid.cell import Cell


@dataclass(frozen=True)
class Setup:
    """What a node works with."""

    node: str
    """The name of the machine; it may differ."""
    fl_bench: str
    """Version of fl-bench."""
    revision: str | None
    """Revision of the checkout; None where there is none."""
    dirty: bool | None
    """Whether files differ from the revision."""
    code: str
    """SHA-256 of the code that decides numbers."""
    python: str
    packages: dict[str, str | None]
    """Versions of packages that records name."""
    instructions: str
    """The instruction set of the processor that torch uses, such as `AVX512`."""
    plugins: dict[str, str]
    """SHA-256 of every plugin file, by the file's name."""
    data: dict[str, str]
    """Fingerprint of every data set, by its name in grids; or why it cannot be loaded."""


class Mixture(ConfigError):
    """A node whose numbers could differ, with each difference.

    Args:
        node: the name of the machine.
        reasons: the differences, in words.
    """

    def __init__(self, node: str, reasons: Sequence[str]) -> None:
        self.words = f"{node} would give other numbers: {'; '.join(reasons)}"
        super().__init__(f"{self.words}; give every node the same versions, code and data, or leave it out")


def setup(plugins: Mapping[str, str], data: Sequence[str], data_dir: str | None) -> Setup:
    """What this process works with; imports torch and loads the data.

    Args:
        plugins: SHA-256 of plugin files, by name.
        data: the data sets, as `load_dataset` takes them.
        data_dir: the first folder to look for data in.
    """
    import torch

    from ...federation.checkpoint import made_with

    return Setup(
        node=platform.node(),
        code=made_with(torch.device("cpu"))["code"],
        instructions=torch.backends.cpu.get_cpu_capability(),
        plugins=dict(plugins),
        data={name: _fingerprint(name, data_dir) for name in data},
        **software(),
    )


def versions_of(setup: Setup) -> Setup:
    """What a setup says of software; the rest, which takes torch and the data to know, is empty."""
    return replace(setup, code="", instructions="", plugins={}, data={})


def versions() -> Setup:
    """What this process works with, as `versions_of` has it; imports no torch."""
    return Setup(node=platform.node(), code="", instructions="", plugins={}, data={}, **software())


def data_of(cells: Sequence[Cell]) -> list[str]:
    """The data sets that cells train and score on, each once, as `load_dataset` takes them."""
    chosen = [choice for cell in cells for choice in (cell.dataset, cell.foreign) if choice is not None]
    return list(dict.fromkeys(choice.location for choice in chosen))


def mismatch(expected: Setup, found: Setup) -> list[str]:
    """Every difference that may move a number, in words; empty where there is none.

    Args:
        expected: what the driver works with.
        found: what a node says of itself; it may have more data sets and plugins than expected.
    """
    pairs: list[tuple[str, Any, Any]] = [
        ("fl-bench", expected.fl_bench, found.fl_bench),
        ("the revision", expected.revision, found.revision),
        ("the checkout", _state(expected.dirty), _state(found.dirty)),
        ("Python", expected.python, found.python),
        *(
            (name, expected.packages.get(name), found.packages.get(name))
            for name in sorted({*expected.packages, *found.packages})
        ),
        ("the instruction set", expected.instructions, found.instructions),
        *(
            (f"the plugin {name}", digest[:10], found.plugins.get(name, "")[:10])
            for name, digest in expected.plugins.items()
        ),
        *((f"the data set {name}", mark, found.data.get(name)) for name, mark in expected.data.items()),
    ]
    wrong = [
        f"{what} is {here or 'not there'} here and {there or 'not there'} on {found.node}"
        for what, here, there in pairs
        if here != there
    ]
    if not wrong and expected.code != found.code:
        wrong = [f"the code of fl-bench on {found.node} differs from that here"]
    return wrong


def _state(dirty: bool | None) -> str | None:
    return None if dirty is None else "changed" if dirty else "as committed"


@lru_cache
def _fingerprint(name: str, data_dir: str | None) -> str:
    try:
        return load_dataset(name, data_dir=None if data_dir is None else Path(data_dir)).about.fingerprint
    except FLBenchError as error:
        return f"missing ({str(error).splitlines()[0]})"
