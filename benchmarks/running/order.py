"""The order of the worker protocol (benchmarks room): what an executor asks of a worker, in a line of JSON."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fl_bench.errors import ConfigError, FLBenchError

from ..grid.cell import Cell
from ..grid.configure import show_value
from .handshake import Setup  # noqa: TC001 - settings are read by their annotations
from .runner import Options
from .wire import PROTOCOL, ProtocolError, check_version, from_line, read_as, to_line

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

KEPT_EVERY = 60.0
"""Seconds between checkpoints that a node sends of a cell."""

PLUGIN = re.compile(r"[0-9A-Za-z_][0-9A-Za-z_.-]{0,99}\.py")
"""Names of plugin files: no folder, nothing hidden."""


@dataclass(frozen=True)
class Plugin:
    """A plugin file as it travels."""

    name: str
    """The file's name, without folders."""
    text: str
    sha256: str
    """Of the text in UTF-8; in hex."""

    @classmethod
    def read(cls, path: str) -> Plugin:
        """The file of `--plugin`.

        Raises:
            ConfigError: it cannot be read as UTF-8, or its name does not travel.
        """
        name = Path(path).name
        if not PLUGIN.fullmatch(name):
            raise ConfigError(
                f"--plugin {path}: name the file with letters, digits, _ and - to send it to other machines"
            )
        try:
            content = Path(path).read_bytes()
            return cls(name, content.decode(), hashlib.sha256(content).hexdigest())
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"--plugin {path} cannot be read as UTF-8 text: {error}") from None

    def __post_init__(self) -> None:
        if not PLUGIN.fullmatch(self.name):
            raise ProtocolError(f"a plugin is called {show_value(self.name)}, which is no name of a file")
        if hashlib.sha256(self.text.encode()).hexdigest() != self.sha256:
            raise ProtocolError(f"the text of the plugin {self.name} is not the one that was sent")

    def write(self, folder: Path) -> str:
        """Write the file below a folder, under its digest, and return its path; what is there already stays."""
        place = folder / self.sha256[:16] / self.name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(self.text.encode())
        return str(place)


@dataclass(frozen=True)
class Order:
    """What a worker is to do, in one line of JSON."""

    cells: tuple[dict[str, Any], ...]
    """Cells as `Cell.to_worker` gives them, to be run one after the other."""
    setup: Setup
    """What the driver works with; a worker that differs refuses."""
    options: Options = field(default_factory=Options)
    """How to run them; `plugins` is empty here, since plugins travel as text."""
    plugins: tuple[Plugin, ...] = ()
    timeout: float | None = None
    """Wall seconds that each cell may take, from when libraries and data are loaded."""
    results: str | None = None
    """The results folder, where node and driver share it; None: records and checkpoints come back as messages."""
    checkpoints: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Checkpoints to go on from, by the key of the cell: Base64 of the state and of its finished rounds."""
    kept_every: float = KEPT_EVERY
    """Seconds between checkpoints that come back as messages."""
    gpu_share: float | None = None
    """How much of its GPU's memory the worker may take, above 0 and at most 1; None: all that there is."""
    protocol: int = PROTOCOL

    @classmethod
    def of(cls, cells: Sequence[Cell], options: Options, setup: Setup, **rest: Any) -> Order:
        """An order for cells whose plugins are those of `options`.

        Args:
            cells: what to run.
            options: how; plugin files are read here.
            setup: what the driver works with.
            rest: further fields.
        Raises:
            ConfigError: a plugin file cannot be read.
        """
        plugins = tuple(map(Plugin.read, options.plugins))
        parcels = tuple(cell.to_worker() for cell in cells)
        return cls(parcels, setup, replace(options, plugins=()), plugins, **rest)

    def text(self) -> bytes:
        """The line, with its end."""
        return to_line(asdict(self))


def read_order(line: bytes) -> Order:
    """What a worker is to do.

    Raises:
        ProtocolError: it is no order of this version, or names what has no place in one.
    """
    values = from_line(line, "the order")
    if "protocol" not in values:
        raise ProtocolError("the order does not say the version of its protocol")
    check_version(values, "the driver")
    order = read_as(Order, values, "order", nested=True)
    if order.options.plugins:
        raise ProtocolError("the order names plugin files; plugins travel as text")
    if order.timeout is not None and not order.timeout > 0:
        raise ProtocolError(f"the order's timeout must be above 0 seconds, found {order.timeout:g}")
    if order.gpu_share is not None and not 0 < order.gpu_share <= 1:
        raise ProtocolError(f"the order's gpu_share must be above 0 and at most 1, found {order.gpu_share:g}")
    return order


def read_cell(parcel: Mapping[str, Any]) -> Cell:
    """The cell of an order; the plugins that it uses must be loaded.

    Raises:
        ProtocolError: it is no cell, or comes out as another one here.
    """
    try:
        cell = Cell.from_worker(parcel)
        sent, built = parcel["cell"], json.loads(json.dumps(cell.as_dict()))
    except (FLBenchError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise ProtocolError(f"the order holds what is no cell here: {type(error).__name__}: {error}") from None
    if sent != built:
        parts = sorted(name for name in {*sent, *built} if sent.get(name) != built.get(name))
        raise ProtocolError(f"a cell comes out differently here, in {', '.join(parts)}")
    return cell
