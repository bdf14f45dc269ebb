"""The worker protocol (benchmarks room): what goes to a node and what comes back, as JSON, every part of it checked.

A worker (`worker.py`) reads one order a line and writes one message a line; the names below are the classes here:

    Order       cells, plugins as text, options, what the node has to be equal to, checkpoints to go on from
    Hello       what the node is (`handshake.Setup`)
    Refused     the node differs from what the order expects, or garbled the order; nothing was run
    Started     libraries and data are loaded, the cell's own work begins
    Finished    a finished round, those of a restored checkpoint first
    Kept        a part of the newest checkpoint
    Recorded    the files of a record, where the node shares no results folder with us; the cell has ended
    Ended       the cell has ended, and its record is in the folder that we share
    Late        the cell reached its time limit; the worker ends
    Skipped     another process is running the cell
    Broken      the node takes no record, or a plugin fails there

Nothing that a node says is trusted, and nothing is executed: lines are bounded, types are strict, an unknown key or
version is an error, and no name is a path. Python code travels in one direction only: plugins, to the nodes, which run
it with the rights of whoever started them.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from fl_bench.errors import ConfigError, FLBenchError

from ..grid.cell import Cell
from ..grid.configure import configure, show_value
from .handshake import Setup  # noqa: TC001 - settings are read by their annotations
from .runner import Options

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

PROTOCOL = 1
"""Version of orders and messages; any other is refused."""

MOST_LINE = 2**30
"""Bytes of the longest order or message."""

MOST_CHECKPOINT = 2**29
"""Bytes of the largest checkpoint that travels. A larger one stays there; a run whose node is lost then starts anew."""

PART = 2**22
"""Bytes of a checkpoint in one message."""

KEPT_EVERY = 60.0
"""Seconds between checkpoints that a node sends of a cell."""

PLUGIN = re.compile(r"[0-9A-Za-z_][0-9A-Za-z_.-]{0,99}\.py")
"""Names of plugin files: no folder, nothing hidden."""


class ProtocolError(FLBenchError):
    """What came over the wire is not what the protocol says."""


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
    checkpoints: dict[str, str] = field(default_factory=dict)
    """Base64 of checkpoints to go on from, by the key of the cell."""
    kept_every: float = KEPT_EVERY
    """Seconds between checkpoints that come back as messages."""
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
        return _line(asdict(self))


@dataclass(frozen=True)
class Hello:
    """What the node is."""

    setup: Setup
    protocol: int = PROTOCOL


@dataclass(frozen=True)
class Refused:
    """Why the node runs nothing of the order."""

    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Started:
    """The cell's own work begins."""

    key: str
    provenance: dict[str, Any]


@dataclass(frozen=True)
class Finished:
    """A finished round."""

    key: str
    round: int
    accuracy: float | None
    """Mean client accuracy of the deployed view, percent."""
    memory: tuple[int, int] | None
    """On a GPU: the most bytes that the worker has taken, and those that are free."""
    facts: dict[str, Any]
    """What a record would say beside its rounds."""
    values: dict[str, float | int | None]
    """The row of the round."""
    clients: tuple[dict[str, float | int | str | None], ...]
    """The rows of its clients."""


@dataclass(frozen=True)
class Kept:
    """A part of the newest checkpoint."""

    key: str
    sha256: str
    """Of the whole checkpoint."""
    part: int
    """Which part it is, from 0; they come in order."""
    parts: int
    content: str
    """Base64."""

    def __post_init__(self) -> None:
        if not 0 <= self.part < self.parts <= MOST_CHECKPOINT // PART:
            raise ProtocolError(f"part {self.part} of {self.parts} of a checkpoint cannot be")


@dataclass(frozen=True)
class Recorded:
    """The record of a cell."""

    key: str
    files: dict[str, str]
    """The texts of `run.json`, `rounds.csv` and `clients.csv`."""


@dataclass(frozen=True)
class Ended:
    """The cell's record is in the folder that we share."""

    key: str


@dataclass(frozen=True)
class Late:
    """The cell reached its time limit."""

    key: str


@dataclass(frozen=True)
class Skipped:
    """Another process is running the cell."""

    key: str
    reason: str


@dataclass(frozen=True)
class Broken:
    """The node can work no more."""

    reason: str
    storage: bool = False
    """Whether its disk takes no checkpoint or record."""


Message: TypeAlias = "Hello | Refused | Started | Finished | Kept | Recorded | Ended | Late | Skipped | Broken"

MESSAGES: dict[str, type[Any]] = {
    kind.__name__.lower(): kind
    for kind in (Hello, Refused, Started, Finished, Kept, Recorded, Ended, Late, Skipped, Broken)
}
"""What `kind` may say."""


def message_line(message: Message) -> bytes:
    """A message as a line of JSON, with its end."""
    return _line({"kind": type(message).__name__.lower(), **asdict(message)})


def read_message(line: bytes) -> Message:
    """What a worker said.

    Raises:
        ProtocolError: it is no message of this version.
    """
    values = _values(line, "a message")
    kind = MESSAGES.get(str(values.pop("kind", None)))
    if kind is None:
        raise ProtocolError(f"no message begins like {show_value(line[:80])}")
    _check_version(values, "the node")
    message: Message = _configured(kind, values, f"message {kind.__name__.lower()}")
    return message


def read_order(line: bytes) -> Order:
    """What a worker is to do.

    Raises:
        ProtocolError: it is no order of this version, or names what has no place in one.
    """
    values = _values(line, "the order")
    if "protocol" not in values:
        raise ProtocolError("the order does not say the version of its protocol")
    _check_version(values, "the driver")
    order: Order = _configured(Order, values, "order")
    if order.options.plugins:
        raise ProtocolError("the order names plugin files; plugins travel as text")
    if order.timeout is not None and not order.timeout > 0:
        raise ProtocolError(f"the order's timeout must be above 0 seconds, found {order.timeout:g}")
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


def shown(text: str) -> str:
    """What a node said, fit for a terminal: one line of printable characters, not too long."""
    line = " ".join("".join(character if character.isprintable() else " " for character in text).split())
    return line if len(line) <= 1000 else f"{line[:997]}..."


def decoded(text: str, what: str) -> bytes:
    """The bytes of a Base64 text.

    Raises:
        ProtocolError: it is none.
    """
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise ProtocolError(f"{what} is no Base64") from None


def encoded(content: bytes) -> str:
    """Bytes as Base64 text."""
    return base64.b64encode(content).decode()


def parts_of(key: str, content: bytes) -> list[Kept]:
    """A checkpoint as messages; none where it is too large to travel."""
    if not 0 < len(content) <= MOST_CHECKPOINT:
        return []
    digest, parts = hashlib.sha256(content).hexdigest(), range(0, len(content), PART)
    return [
        Kept(key, digest, part, len(parts), encoded(content[start : start + PART])) for part, start in enumerate(parts)
    ]


def _line(values: Mapping[str, Any]) -> bytes:
    return json.dumps(values, separators=(",", ":"), default=_number).encode() + b"\n"


def _number(value: Any) -> Any:
    """A number of NumPy as Python's; anything else has no place in a message."""
    return value.item() if hasattr(value, "item") else json.JSONEncoder().default(value)


def _values(line: bytes, what: str) -> dict[str, Any]:
    if len(line) > MOST_LINE:
        raise ProtocolError(f"{what} has {len(line)} bytes; {MOST_LINE} are the most")
    try:
        values = json.loads(line)
    except (ValueError, RecursionError):
        raise ProtocolError(f"{what} is no JSON: {show_value(line[:80])}") from None
    if not isinstance(values, dict):
        raise ProtocolError(f"{what} is no mapping: {show_value(values)}")
    return values


def _check_version(values: Mapping[str, Any], who: str) -> None:
    version = values.get("protocol", PROTOCOL)
    if version != PROTOCOL:
        raise ProtocolError(
            f"{who} speaks version {show_value(version)} of the worker protocol, and this fl-bench version {PROTOCOL}; "
            "install the same fl-bench on both"
        )


def _configured(kind: type[Any], values: dict[str, Any], what: str) -> Any:
    try:
        return configure(kind, values, what)
    except ConfigError as error:
        raise ProtocolError(str(error)) from None
