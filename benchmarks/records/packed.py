"""The records of a bundle (benchmarks room): read into memory when one is first asked for, checked one by one."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from . import bundle
from .index import Place, by_place
from .reading import check_name, parse_run
from .record import Record
from .texts import RUN

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


class Packed:
    """The records of a bundle, none where there is no such file.

    Args:
        path: the bundle.
        needed: whether it must be there.
    """

    def __init__(self, path: Path, *, needed: bool) -> None:
        self.path = path
        self._needed = needed
        self._state: object = None

    @cached_property
    def texts(self) -> bundle.Texts:
        """The texts of the files of each, by name.

        Raises:
            DataError: the bundle cannot be read.
        """
        self._state = bundle.state(self.path)
        return bundle.read_bundle(self.path) if self._needed or self.path.is_file() else {}

    def of(self, place: Place) -> Sequence[str]:
        """The names of a cell's records."""
        return self._places.get(place, ())

    def read(self, name: str) -> Record:
        """The record of a name that the bundle has.

        Raises:
            DataError: it is not what it should be.
        """
        place, texts = self.path / name, self.texts[name]
        return check_name(Record(place, parse_run(texts[RUN], place / RUN), texts))

    def look_again(self) -> None:
        """Read the bundle anew, should it have been written since."""
        if self._state != bundle.state(self.path):
            for name in ("texts", "_places"):
                self.__dict__.pop(name, None)

    @cached_property
    def _places(self) -> dict[Place, list[str]]:
        return by_place(self.texts)
