"""The check that a method which says so goes on where drawn clients go absent (`Method.tolerates_absence`)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ..registry import METHODS
from .worlds import TRAINING, assert_finite, changed_tensors, deal, finish, made_up_data, make_run

if TYPE_CHECKING:
    from ...federation.faults import Place
    from .worlds import Outcome

AWAY = 2
"""The client that is away in every round."""
SHORT = replace(TRAINING, rounds=2, engine="loop")
"""The runs of the check."""


def absent_clients_change_nothing(name: str) -> None:
    """A client that goes absent in every round it is drawn for changes no more than one that is never drawn.

    Not a bit, where it goes after the download; nothing of the others, where it trains and sends nothing. A method that
    does not tolerate absence is exempt: such runs are refused.
    """
    if not METHODS[name].tolerates_absence:
        return
    hint = (
        "look for what the server takes from `turns` or counts as sent, instead of reading `uploads.ids`; or set "
        "`tolerates_absence = False`, and runs with absent clients are refused"
    )
    try:
        never, after, before = _run(name, None), _run(name, "after_download"), _run(name, "before_upload")
    except Exception as error:
        raise AssertionError(f"{name} fails where a drawn client goes absent: {error}; {hint}") from error
    changed = changed_tensors(never.weights, after.weights)
    assert not changed, f"{name}: a client that is absent after the download changes {', '.join(changed)}; {hint}"
    assert_finite(name, before, "with a client that is absent before the upload")
    for one, other in zip(never.rows, before.rows, strict=True):
        for mine, yours in zip(one["clients"], other["clients"], strict=True):
            moved = [key for key, value in mine.items() if mine["client"] != AWAY and yours[key] != value]
            assert not moved, (
                f"{name}: a client that is absent before the upload changes {', '.join(moved)} of client "
                f"{mine['client']}; {hint}"
            )


def _run(name: str, place: Place | None) -> Outcome:
    """A run in which client `AWAY` always goes absent at a place, or is never drawn."""
    dataset = made_up_data()
    run = make_run(name, dataset, deal(dataset), SHORT)
    if place is None:
        drawn = run.participants
        run.participants = lambda index: [client for client in drawn(index) if client != AWAY]  # type: ignore[method-assign]  # in its place
    else:
        run.absent = lambda index: {AWAY: place}  # type: ignore[method-assign]  # in its place
    return finish(run)
