"""Which number of a run is reported (benchmarks room): at which round, and in which view."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from ...federation.settings import UNSEEN

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..records.record import Record
    from ..records.rows import Row

Selection = Literal["last", "val"]
"""Which round is reported: the last, or the (first) best of the mean validation accuracy."""

SELECTIONS = {"last": "the last round", "val": "the round with the best validation accuracy"}
"""Which round is reported, in words."""


def reported(rows: Sequence[Row], selection: Selection) -> Row | None:
    """The row of the reported round; None when there is no validation accuracy to choose by."""
    if selection == "last":
        return rows[-1] if rows else None
    validated = [(value, row) for row in rows if isinstance(value := row.get("val_acc_mean"), int | float)]
    return max(validated, key=lambda pair: pair[0])[1] if validated else None


def reported_in(rows: Sequence[Row], view: str, selection: Selection) -> Row | None:
    """The row of a view: the last, whatever is selected, of clients that were admitted after it; see `reported`."""
    return reported(rows, "last" if view == UNSEEN else selection)


def deployed_view(group: Sequence[Record]) -> str:
    """The view that is a method's number; nothing where no run of it is done."""
    return next((str(record.facts["deployed"]) for record in group if record.status == "done"), "")
