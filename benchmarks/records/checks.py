"""What a record must hold for tables to be made of it (benchmarks room): types and ranges, checked where it is read.

Whoever is given a record takes its fields as they are. What only one method or a later version writes is let through.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from fl_bench.limits import RECORD_NUMBER

from ...federation.settings import UNSEEN
from ..grid.cell import short_hash
from ..grid.protocol import Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from .rows import Row

Status = Literal["done", "diverged", "failed", "timeout", "unsupported"]
"""How a run may end."""

OWN = ("bytes_", "steps_", "seconds_", "loss_", "val_", "cluster", "round", "participants")
"""How columns of rounds.csv begin that are never a method's own, beside those of views, which have a dot."""

NEEDED = ("participants", "bytes_up", "bytes_down")
"""Columns of rounds.csv that every finished run has a number in."""


class Garbled(ValueError):
    """What is wrong with a record, in words that follow its file's name."""


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("has characters that cannot be printed")
    return text


def _protocol(values: Any) -> Any:
    if not Protocol.reads(values):
        raise ValueError("is no protocol")
    return values


Name = Annotated[str, Field(min_length=1), AfterValidator(_printable)]
Number = Annotated[float, Field(ge=-RECORD_NUMBER, le=RECORD_NUMBER, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0, lt=2**63)]
Size = Annotated[int, Field(ge=1, lt=2**63)]


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore")


class _Partition(_Part):
    scheme: Name
    clients: Size
    unseen: Annotated[float, Field(ge=0, lt=1)] = 0.0

    @model_validator(mode="after")
    def _some_take_part(self) -> _Partition:
        if round(self.unseen * self.clients) >= self.clients > 0 and self.unseen:
            raise ValueError("unseen leaves no clients")
        return self


class _Models(_Part):
    names: Annotated[list[Name], Field(min_length=1)]
    server: Name | None = None


class _Training(_Part):
    rounds: Size
    local_epochs: Count
    batch_size: Size
    optimizer: Name
    lr: Number
    participation: Number
    views: str = "all"
    risks: bool = False


class _Method(_Part):
    name: Name
    settings: dict[Name, Any]
    codec: Name
    plugin: str | None = None
    training: dict[Name, Any] = {}


class _Cell(_Part):
    dataset: Name
    digest: str | None = None
    partition: _Partition
    models: _Models
    training: _Training
    method: _Method
    plugins: dict[str, str] = {}
    seed: Count
    varied: dict[Literal["partition", "init", "draws", "batches"], Count] = {}
    protocol: Annotated[Any, AfterValidator(_protocol)] = {}


class _Data(_Part):
    fingerprint: str | None = None
    classes: Size | None = None


class _Heterogeneity(_Part):
    in_group_test: Number | None = None


class _Facts(_Part):
    category: Name = "-"
    summary: str = ""
    deployed: Name = "-"
    views: list[Name] = []
    badges: list[Name] = []
    view_badges: dict[Name, list[Name]] = {}
    pairing: dict[Name, str] = {}
    dataset: _Data = _Data()
    heterogeneity: _Heterogeneity = _Heterogeneity()
    public_samples: Count = 0
    bytes_one_off: Number = 0
    bytes_undelivered: Number = 0

    @model_validator(mode="after")
    def _deployed_is_a_view(self) -> _Facts:
        if self.views and self.deployed not in self.views:
            raise ValueError("deployed is none of views")
        return self


class _Clocks(_Part):
    started: str | None = None
    finished: str | None = None
    seconds_total: Annotated[Number, Field(ge=0)]
    seconds_setup: Number | None = None


class _Run(_Part):
    status: Status
    reason: str | None = None
    label: Name
    key: Annotated[str, Field(pattern="^[0-9a-f]{10}$")]
    tuning: str = ""
    cell: _Cell
    facts: _Facts
    provenance: dict[str, Any]
    clocks: _Clocks
    traceback: str | None = None

    @model_validator(mode="after")
    def _done_has_views(self) -> _Run:
        if self.status == "done" and not self.facts.views:
            raise ValueError("facts: a run that is done has views")
        return self


def check_run(run: Mapping[str, Any]) -> None:
    """Refuse a run.json whose fields are not of the types and ranges that readers rely on, or whose key is of no cell.

    Args:
        run: its content, of the format that this fl-bench writes.
    Raises:
        Garbled: names the fields.
    """
    try:
        _Run.model_validate(run)
    except ValidationError as error:
        names = dict.fromkeys(".".join(map(str, problem["loc"])) for problem in error.errors(include_url=False))
        raise Garbled(f"lacks or garbles {', '.join(filter(None, names)) or 'facts'}") from None
    if not all(map(str.isprintable, _strings(run["cell"]))):
        raise Garbled("lacks or garbles cell: it has characters that cannot be printed")
    try:
        key = short_hash(run["cell"], 10)
    except ValueError:
        raise Garbled("lacks or garbles cell: a number there is not finite") from None
    if key != run["key"]:
        raise Garbled(f"has the key {run['key']}, but its cell makes {key}: one of them was changed")


def check_rounds(rows: Sequence[Row], run: Mapping[str, Any]) -> None:
    """Refuse rows of rounds.csv that readers cannot rely on.

    Args:
        rows: the table.
        run: the content of run.json, checked.
    Raises:
        Garbled: names the column.
    """
    _numbers(rows, [name for row in rows[:1] for name in row], "round")
    views, done = run["facts"].get("views") or (), run["status"] == "done"
    if done and not rows:
        raise Garbled("has no rounds, though the run is done")
    if [row.get("round") for row in rows] != list(range(len(rows))):
        raise Garbled("lacks or garbles the column round, which counts from 0")
    needed = [*(NEEDED if done else ()), *(f"{view}.acc_mean" for view in views if view != UNSEEN)]
    for index, row in enumerate(rows):
        for name in needed:
            if row.get(name) is None:
                raise Garbled(f"lacks {name} in round {index}")
        if done and not row["participants"]:
            raise Garbled(f"has no participants in round {index}")
    if done and UNSEEN in views:
        for name in (f"{UNSEEN}.acc_mean", f"{UNSEEN}.clients", "steps_unseen"):
            if rows[-1].get(name) is None:
                raise Garbled(f"lacks {name} in the last round")


def check_clients(rows: Sequence[Row], run: Mapping[str, Any]) -> None:
    """Refuse rows of clients.csv that readers cannot rely on; arguments and errors as in `check_rounds`."""
    _numbers(rows, [name for row in rows[:1] for name in row if name != "model"], "client")
    for row in rows:
        for name in ("round", "client"):
            if not isinstance(value := row.get(name), int) or value < 0:
                raise Garbled(f"lacks or garbles the column {name}")


def _numbers(rows: Sequence[Row], names: Iterable[str], what: str) -> None:
    """Refuse what is no number in a column; a method's own may hold one that is not finite."""
    for name in names:
        for row in rows:
            value = row[name]
            if value is None:
                continue
            if isinstance(value, str):
                raise Garbled(f"has {value[:40]!r} for a number in {name}, {what} {row.get(what)}")
            if not -RECORD_NUMBER < value < RECORD_NUMBER and (
                "." in name or name.startswith(OWN) or isinstance(value, int) or math.isfinite(value)
            ):
                raise Garbled(f"has {str(value)[:40]} in {name}, {what} {row.get(what)}")


def _strings(values: Any) -> Iterator[str]:
    """All strings in plain values, names of settings too."""
    waiting = [values]
    while waiting:
        value = waiting.pop()
        if isinstance(value, str):
            yield value
        elif isinstance(value, dict):
            waiting += [*value, *value.values()]
        elif isinstance(value, list):
            waiting += value
