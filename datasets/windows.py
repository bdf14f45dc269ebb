"""Long recordings cut into windows of one length, and their split in time (datasets room).

Neighbouring windows share samples. A test window that shared some with a training window would have been seen in
training, so test windows are the last ones, and windows that overlap with them are left out: the gap.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike

LENGTH = 128
"""Samples of a window: 2.56 s at 50 Hz, the usual one of the activity data of UCI."""

STEP = 64
"""Samples from the beginning of a window to that of the next: half of each is in its neighbour."""

TEST_SHARE = Fraction(1, 5)
"""Share of the windows of a block, a person's of one class, that are test windows; rounded, halves up."""


@dataclass(frozen=True)
class Windows:
    """Windows of some recordings, in the order of time."""

    values: np.ndarray
    """Shape (windows, channels, LENGTH), float32."""
    labels: np.ndarray
    """Class of each, shape (windows,), int64."""
    recording: np.ndarray
    """Number of the recording that each was cut from, shape (windows,)."""
    start: np.ndarray
    """Its first sample there, shape (windows,)."""


def cut(recordings: Sequence[tuple[np.ndarray, np.ndarray]], classes: int) -> Windows:
    """Cut recordings into windows that have the class of most of their samples.

    A window begins every `STEP` samples. It has the class that more than half of its samples have; where none has so
    many, or more are without a class, there is no window.

    Args:
        recordings: channels, shape (samples, channels), and the class of each sample, shape (samples,), int64 in
            [0, classes) or -1 for none.
        classes: number of classes.
    """
    values, labels, recording, start = [], [], [], []
    for number, (signal, kinds) in enumerate(recordings):
        for first in range(0, len(kinds) - LENGTH + 1, STEP):
            inside = kinds[first : first + LENGTH]
            counts = np.bincount(inside[inside >= 0], minlength=classes)
            if 2 * counts.max() > LENGTH:
                values.append(signal[first : first + LENGTH].T.astype(np.float32))
                labels.append(int(counts.argmax()))
                recording.append(number)
                start.append(first)
    stacked = np.stack(values) if values else np.empty((0, 1, LENGTH), np.float32)
    return Windows(stacked, np.array(labels, np.int64), np.array(recording, np.int64), np.array(start, np.int64))


def split_in_time(windows: Windows, block: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Training and test windows.

    Of each block the last `TEST_SHARE` are test windows. Windows of whatever block that share a sample with a test
    window are neither.

    Args:
        windows: in the order of time.
        block: what each belongs to, shape (windows,): its person and class.
    Returns:
        Numbers of the training windows and of the test windows, ascending.
    """
    block = np.asarray(block)
    test = np.zeros(len(block), dtype=bool)
    for own in np.unique(block):
        members = np.flatnonzero(block == own)
        test[members[len(members) - int(TEST_SHARE * len(members) + Fraction(1, 2)) :]] = True
    near = np.zeros(len(block), dtype=bool)
    for apart in range(1, -(-LENGTH // STEP)):  # no window further on in the list reaches as far
        one, other = slice(None, -apart), slice(apart, None)
        together = windows.recording[one] == windows.recording[other]
        together &= windows.start[other] - windows.start[one] < LENGTH
        near[other] |= together & test[one]
        near[one] |= together & test[other]
    return np.flatnonzero(~test & ~near), np.flatnonzero(test)
