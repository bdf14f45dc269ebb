"""Corrupted and shifted inputs (datasets room): a small set of changes, five severities each.

With s the severity, 1 to 5, and x an input; what is drawn is the same for every severity. Images are in [0, 1]:

    shift     moved by ceil(s/20 * side) pixels up or down and left or right, drawn per image; 0 where nothing is left
    blur      convolved with a Gaussian of standard deviation 0.4 s pixels, cut at three of them; edges are repeated
    contrast  m + (1 - 0.18 s) (x - m), where m is the mean of the image
    invert    1 - x for ceil(s/5 * samples) of the images, the others unchanged
    noise     x + 0.1 s e, cut to [0, 1], with e standard normal per number

Tables and sequences are standardised, so that 1 is a standard deviation of the training rows; a sequence's channels are
its columns:

    scale     column j times (1 + 0.25 s)^d_j, with d_j = 1 or -1 drawn per column
    shift     column j plus 0.25 s d_j, with d_j = 1 or -1 drawn per column
    noise     x + 0.25 s e, with e standard normal per number

Of texts, `noise` draws every token anew with probability s/10, each of the vocabulary being as likely.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from fl_bench.streams import numpy_stream

from .public import IMAGE_CHANGES, MOST_SEVERE, TABLE_CHANGES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Change = Callable[[np.ndarray, int, np.random.Generator], np.ndarray]


def corrupted(
    inputs: np.ndarray, severities: Mapping[str, int], seed: int, vocabulary: int | None = None
) -> np.ndarray:
    """Inputs after all changes, in the order of the module's table.

    Args:
        inputs: stored inputs of any kind of data.
        severities: severity of each change, 1 to 5; those of other kinds of data must not be there.
        seed: seed of the partition.
        vocabulary: number of different tokens where inputs are texts.
    Returns:
        The same shape and number format; of images uint8 is rounded to the nearest value.
    """
    if vocabulary is not None:
        stream = numpy_stream(seed, "partition", "public change", "noise")
        drawn = stream.integers(0, vocabulary, inputs.shape, dtype=inputs.dtype)
        return np.where(stream.random(inputs.shape) < severities.get("noise", 0) / 10, drawn, inputs)
    image, stored = inputs.ndim == 4, inputs.dtype
    values = inputs.astype(np.float64) / (255 if stored == np.uint8 else 1)
    for name in IMAGE_CHANGES if image else TABLE_CHANGES:
        if severity := severities.get(name):
            change = (OF_IMAGES if image else OF_TABLES)[name]
            values = change(values, severity, numpy_stream(seed, "partition", "public change", name))
    result: np.ndarray = (np.rint(255 * values) if stored == np.uint8 else values).astype(stored)
    return result


def _moved(images: np.ndarray, severity: int, stream: np.random.Generator) -> np.ndarray:
    for axis in (2, 3):
        side = images.shape[axis]
        pixels = -(-severity * side // 20)
        forwards = stream.random(len(images)) < 0.5
        images = np.moveaxis(images, axis, 1)
        moved = np.zeros_like(images)
        moved[forwards, pixels:] = images[forwards, : side - pixels]
        moved[~forwards, : side - pixels] = images[~forwards, pixels:]
        images = np.moveaxis(moved, 1, axis)
    return images


def _blurred(images: np.ndarray, severity: int, _: np.random.Generator) -> np.ndarray:
    deviation = 0.4 * severity
    reach = math.ceil(3 * deviation)
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / deviation) ** 2)
    weights /= weights.sum()
    for axis in (2, 3):
        side = images.shape[axis]
        padded = np.pad(images, [(reach, reach) if axis == other else (0, 0) for other in range(4)], mode="edge")
        parts = [weight * padded.take(range(at, at + side), axis=axis) for at, weight in enumerate(weights)]
        images = np.sum(parts, axis=0)
    return images


def _paled(images: np.ndarray, severity: int, _: np.random.Generator) -> np.ndarray:
    mean = images.mean(axis=(1, 2, 3), keepdims=True)
    paled: np.ndarray = mean + (1 - 0.18 * severity) * (images - mean)
    return paled


def _inverted(images: np.ndarray, severity: int, stream: np.random.Generator) -> np.ndarray:
    chosen = stream.permutation(len(images))[: -(-severity * len(images) // MOST_SEVERE)]
    images = images.copy()
    images[chosen] = 1 - images[chosen]
    return images


def _noisy(images: np.ndarray, severity: int, stream: np.random.Generator) -> np.ndarray:
    noisy: np.ndarray = images + 0.1 * severity * stream.standard_normal(images.shape)
    return noisy.clip(0, 1)


def _scaled(table: np.ndarray, severity: int, stream: np.random.Generator) -> np.ndarray:
    scaled: np.ndarray = table * (1 + 0.25 * severity) ** _signs(table, stream)
    return scaled


def _offset(table: np.ndarray, severity: int, stream: np.random.Generator) -> np.ndarray:
    offset: np.ndarray = table + 0.25 * severity * _signs(table, stream)
    return offset


def _noisy_table(table: np.ndarray, severity: int, stream: np.random.Generator) -> np.ndarray:
    noisy: np.ndarray = table + 0.25 * severity * stream.standard_normal(table.shape)
    return noisy


def _signs(table: np.ndarray, stream: np.random.Generator) -> np.ndarray:
    """1 or -1 for each column or channel, shape (features,) or (channels, 1)."""
    signs = np.where(stream.random(table.shape[1]) < 0.5, 1.0, -1.0)
    return signs.reshape(-1, *[1] * (table.ndim - 2))


OF_IMAGES: dict[str, Change] = {
    "shift": _moved,
    "blur": _blurred,
    "contrast": _paled,
    "invert": _inverted,
    "noise": _noisy,
}
OF_TABLES: dict[str, Change] = {"scale": _scaled, "shift": _offset, "noise": _noisy_table}
