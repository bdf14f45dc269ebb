"""Under which version of our own code a cell's numbers come about (benchmarks room): one number per part."""

from __future__ import annotations

from dataclasses import asdict, astuple, dataclass, fields
from typing import TYPE_CHECKING, Any

from ...datasets import protocol as data
from ...federation import protocol as rounds

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ...methods.base import Method


@dataclass(frozen=True, order=True)
class Protocol:
    """Versions of the parts, each raised in the commit that moves numbers or bytes; later ones sort behind earlier."""

    data: int = 1
    """Of loading and dealing, `datasets/protocol.py`."""
    rounds: int = 1
    """Of the round loop and local training, `federation/protocol.py`."""
    method: int = 1
    """Of the method, `Method.protocol`."""

    @classmethod
    def now(cls, method: type[Method[Any]]) -> Protocol:
        """What a run of the method would have today."""
        return cls(data.VERSION, rounds.VERSION, method.protocol)

    @classmethod
    def of(cls, cell: Mapping[str, Any]) -> Protocol:
        """The versions of a cell as records keep it; 1 of each part where it names none, as in records from before."""
        return cls(**cell.get("protocol", {}))

    @classmethod
    def reads(cls, values: Any) -> bool:
        """Whether plain values are the versions of a cell."""
        return isinstance(values, dict) and all(
            name in {part.name for part in fields(cls)} and type(version) is int for name, version in values.items()
        )

    def __str__(self) -> str:
        """`data 1, rounds 2, method 1`."""
        return ", ".join(f"{part} {version}" for part, version in self.as_dict().items())

    def as_dict(self) -> dict[str, int]:
        """Part to version."""
        return asdict(self)

    def until(self, later: Protocol) -> str:
        """What differs from another one: `rounds 1 -> 2, method 1 -> 2`."""
        pairs = zip(self.as_dict(), astuple(self), astuple(later), strict=True)
        return ", ".join(f"{part} {before} -> {after}" for part, before, after in pairs if before != after)
