"""Sealed values: public labels, test labels and true groups, which only the evaluator opens unrecorded."""

from __future__ import annotations

from typing import Generic, TypeVar

from fl_bench.errors import Unsupported

T = TypeVar("T")


class Sealed(Generic[T]):
    """A value that methods must not use; when one does, the opening is kept and the run carries a badge.

    The value does not show in `repr`, is not an attribute that completion offers, and cannot be reached by
    indexing. This guards against mistakes, not against malice.
    """

    def __init__(self, value: T, what: str, *, lacking: str = "") -> None:
        self.__value = value
        self._lacking = lacking  # why a part of the value does not exist; empty where nothing is lacking
        self.what = what
        """What is sealed, as badges name it: `public labels`, `test labels`, `true groups`."""
        self.openings: list[str] = []
        """Who opened it, in order, each name once."""

    def open(self, by: str) -> T:
        """The value, for the method or preset `by`; recorded, and the run is marked `oracle:`.

        Raises:
            Unsupported: a part of the value does not exist, such as the labels of public samples of another data set.
        """
        if self._lacking:
            raise Unsupported(f"{by} opens {self.what}, but {self._lacking}")
        if by not in self.openings:
            self.openings.append(by)
        return self.__value

    def open_for_evaluation(self) -> T:
        """The value, for metrics that never flow back into a run; not recorded."""
        return self.__value

    def badges(self) -> list[str]:
        """One `oracle:` badge per recorded opening."""
        return [f"oracle: {self.what} ({by})" for by in self.openings]

    def __repr__(self) -> str:
        return f"Sealed({self.what})"
