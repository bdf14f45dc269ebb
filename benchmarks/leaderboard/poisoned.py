"""Which accuracies are means over poisoned clients as well (benchmarks room), as a caution for whoever reads them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .lines import Line


def over_poisoned(board: Sequence[Line]) -> dict[tuple[str, str], str]:
    """A caution for each data set and setting where some clients are poisoned (`faults.poison`).

    Args:
        board: lines of leaderboards.

    Returns:
        (dataset, setting) to a sentence, for the blocks that need one.
    """
    blocks = dict.fromkeys((line.dataset, line.setting) for line in board if line.acc_honest is not None)
    said = "caution: some clients are poisoned, and accuracy is over all clients, these among them (docs/faults.md)"
    return dict.fromkeys(sorted(blocks), said)
