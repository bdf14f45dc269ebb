"""A data set in memory: inputs, labels and a description with a content fingerprint (datasets room).

Everything that is loaded, ours or a plugin's, ends as one `Dataset`; `build_dataset` makes it from arrays.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Literal

import numpy as np

from fl_bench.errors import DataError
from fl_bench.lazy import torch
from fl_bench.limits import LARGEST_FEATURE, VOCABULARY
from fl_bench.streams import numpy_stream

from .rounding import largest_remainder

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

Modality = Literal["image", "tabular", "sequence", "text"]
Augment = Literal["none", "crop", "crop-flip"]

MODALITIES: dict[int, Modality] = {2: "tabular", 3: "sequence", 4: "image"}
"""What numbers are, by the axes that they have with the one of rows; texts say that they are texts."""


@dataclass(frozen=True)
class Description:
    """What a data set is and where its bytes came from."""

    name: str
    """The name that was asked for, such as `digits` or `openml:credit-g`."""
    classes: int
    """Number of classes C."""
    shape: tuple[int, ...]
    """Shape of one input: (channels, height, width), (features,), (channels, length) or (length,) of a text."""
    modality: Modality
    """`image` (uint8 in [0, 255] or float32 in [0, 1]), `tabular` or `sequence` (standardised float32), or `text`
    (whole numbers from 0 on, one per token)."""
    source: str
    """A sentence that says where the bytes came from."""
    fingerprint: str
    """SHA-256 (hex) over dtype, shape and bytes of inputs, labels and client column, and the training size."""
    augment: Augment
    """What `augment: online` does to training images: nothing, shifted crops, or crops and flips."""
    class_names: tuple[str, ...] = ()
    """A name per class, or nothing."""
    vocabulary: int | None = None
    """Number of different tokens of a text, which are 0, 1, ...; None for all other data."""


@dataclass(frozen=True)
class Dataset:
    """All rows of a data set, training rows first."""

    inputs: Tensor
    """Shape (rows, *about.shape); uint8, int32 (texts of more than 256 different tokens) or float32."""
    labels: Tensor
    """Shape (rows,), int64 in [0, about.classes)."""
    train_size: int
    """Rows [0, train_size) are the official (or our fixed) training set, the rest is the test set."""
    about: Description
    """What it is."""
    natural: np.ndarray | None = None
    """The client that each row came from, shape (rows,), int64, where the data say so."""


def build_dataset(
    name: str,
    inputs: np.ndarray,
    labels: np.ndarray,
    *,
    source: str,
    train_size: int | None = None,
    test_fraction: Fraction = Fraction(1, 5),
    split_name: str | None = None,
    classes: int | None = None,
    class_names: Sequence[str] = (),
    augment: Augment = "none",
    natural: np.ndarray | None = None,
    groups: np.ndarray | None = None,
    vocabulary: int | None = None,
) -> Dataset:
    """Make a `Dataset` from arrays: fix the test set, standardise features, check and fingerprint.

    Args:
        name: the name of the data set.
        inputs: shape (rows, features) for a table or (rows, channels, length) for sequences, where NaN marks a missing
            value; (rows, channels, height, width) for images, uint8 or floating point in [0, 1]; or (rows, length)
            whole numbers in [0, vocabulary) for texts. Training rows come first if `train_size` is given.
        labels: shape (rows,), integers in [0, classes).
        source: a sentence that says where the bytes came from.
        train_size: number of leading rows that are the official training set; without it a stratified test set
            is drawn, the same one for every seed of every run, and training rows are moved to the front.
        test_fraction: share of the rows in that drawn test set.
        split_name: names the stream of that draw; `name` by default.
        classes: number of classes; the largest label plus one by default.
        class_names: a name per class.
        augment: what `augment: online` may do to training images.
        natural: the client of each row, shape (rows,), integers.
        groups: the group of each row, shape (rows,), integers: rows that are nearly the same, all of one class. The
            drawn test set consists of whole groups, so that no test row has a twin among the training rows.
        vocabulary: number of different tokens, which makes the inputs texts.
    Raises:
        DataError: the arrays do not fit together, an image value or a token is out of range, or a row has no valid
            label.
    """
    _check_arrays(name, inputs, labels, natural, vocabulary)
    labels = labels.astype(np.int64)
    classes = int(labels.max()) + 1 if classes is None else classes
    if labels.min() < 0 or labels.max() >= classes:
        raise DataError(
            f"labels of {name!r} must be in [0, {classes}), found values from {labels.min()} to {labels.max()}"
        )
    if train_size is None:
        test = _drawn(labels, test_fraction, split_name or name, groups)
        order = np.concatenate([np.setdiff1d(np.arange(len(labels)), test), test])
        train_size = len(labels) - len(test)
        inputs, labels = inputs[order], labels[order]
        natural = None if natural is None else natural[order]
    if not 0 < train_size < len(labels):
        raise DataError(f"{name!r} needs training and test rows, found {train_size} of {len(labels)} rows to train on")
    if vocabulary is not None:
        inputs = inputs.astype(np.uint8 if vocabulary <= 256 else np.int32)
    elif inputs.ndim < 4:
        inputs = standardise(inputs, train_size)
        if not np.isfinite(inputs).all():
            raise DataError(f"features of {name!r} differ too much between training and test rows for float32")
    elif inputs.dtype != np.uint8:
        inputs = inputs.astype(np.float32)
    inputs = np.ascontiguousarray(inputs)
    about = Description(
        name=name,
        classes=classes,
        shape=tuple(inputs.shape[1:]),
        modality="text" if vocabulary is not None else MODALITIES[inputs.ndim],
        source=source,
        fingerprint=fingerprint(inputs, labels, train_size, natural),
        augment=augment,
        class_names=tuple(class_names),
        vocabulary=vocabulary,
    )
    natural = None if natural is None else natural.astype(np.int64)
    return Dataset(torch.from_numpy(inputs), torch.from_numpy(labels), train_size, about, natural)


def stratified_rows(labels: np.ndarray, fraction: Fraction, name: str) -> np.ndarray:
    """The rows of our fixed test set: `fraction` of all rows, shared out over the classes by largest remainder.

    The draw belongs to the data set, not to a run: it uses the stream `name` of seed 0. A class with a single
    row keeps it for training.

    Returns:
        Row numbers in ascending order.
    """
    counts = np.bincount(labels)
    total = int(fraction * len(labels) + Fraction(1, 2))
    chosen = []
    for label, take in enumerate(largest_remainder(total, counts)):
        rows = np.flatnonzero(labels == label)
        take = min(int(take), max(len(rows) - 1, 0))
        chosen.append(numpy_stream(0, "test set", name, label).permutation(rows)[:take])
    return np.sort(np.concatenate(chosen))


def _drawn(labels: np.ndarray, fraction: Fraction, name: str, groups: np.ndarray | None) -> np.ndarray:
    """Test rows as `stratified_rows` draws them, or all rows of the groups that it draws."""
    if groups is None:
        return stratified_rows(labels, fraction, name)
    _, first, member_of = np.unique(groups, return_index=True, return_inverse=True)
    return np.flatnonzero(np.isin(member_of, stratified_rows(labels[first], fraction, name)))


def standardise(features: np.ndarray, train_size: int) -> np.ndarray:
    """Fill and scale by training rows only: mean 0, standard deviation 1 there, per column or channel.

    A missing value (NaN) becomes the training mean, that is 0; a column that is constant in training keeps its
    unit, so it is 0 on every training row. All moments of a channel are scaled alike.

    Args:
        features: shape (rows, features) or (rows, channels, length), NaN where a value is missing.
        train_size: number of leading training rows.
    Returns:
        float32, same shape, no NaN.
    """
    if features.ndim == 3:  # a row per moment
        rows, channels, length = features.shape
        moments = standardise(features.transpose(0, 2, 1).reshape(-1, channels), train_size * length)
        return moments.reshape(rows, length, channels).transpose(0, 2, 1)
    table = features.astype(np.float64)
    known = ~np.isnan(table[:train_size])
    present = np.maximum(known.sum(axis=0), 1)
    mean = np.where(known, table[:train_size], 0.0).sum(axis=0) / present
    deviation = np.sqrt((np.where(known, table[:train_size] - mean, 0.0) ** 2).sum(axis=0) / present)
    # A constant column may leave a deviation of rounding size; dividing by that would blow noise up to 1.
    constant = deviation <= 1e-12 * np.maximum(np.abs(mean), 1.0)
    scaled: np.ndarray = (table - mean) / np.where(constant, 1.0, deviation)
    with np.errstate(over="ignore"):  # what is too large for float32 is refused where a data set is made
        return np.where(np.isnan(scaled), 0.0, scaled).astype(np.float32)


def fingerprint(inputs: np.ndarray, labels: np.ndarray, train_size: int, natural: np.ndarray | None = None) -> str:
    """SHA-256 (hex) of what a run can see of the data; equal exactly when dtypes, shapes and bytes are."""
    digest = hashlib.sha256()
    for array in (inputs, labels) if natural is None else (inputs, labels, natural.astype(np.int64)):
        digest.update(f"{array.dtype.str}{array.shape};".encode())
        digest.update(np.ascontiguousarray(array).data)
    digest.update(f"train_size={train_size}".encode())
    return digest.hexdigest()


def _check_arrays(
    name: str, inputs: np.ndarray, labels: np.ndarray, natural: np.ndarray | None, vocabulary: int | None
) -> None:
    if vocabulary is not None:
        _check_tokens(name, inputs, vocabulary)
    elif inputs.ndim not in MODALITIES:
        raise DataError(
            f"inputs of {name!r} must have shape (rows, features), (rows, channels, length) or (rows, channels, "
            f"height, width), found {inputs.shape}"
        )
    if labels.shape != inputs.shape[:1] or (natural is not None and natural.shape != labels.shape):
        found = f"{len(inputs)} inputs, labels of shape {labels.shape}"
        raise DataError(f"{name!r} needs one label (and client) per input, found {found}")
    if len(labels) == 0 or 0 in inputs.shape:
        raise DataError(f"{name!r} is empty: inputs of shape {inputs.shape}")
    if not np.issubdtype(labels.dtype, np.integer):
        raise DataError(f"labels of {name!r} must be integers, found {labels.dtype}")
    if inputs.dtype != np.uint8 and inputs.ndim == 4 and not (inputs.min() >= 0 and inputs.max() <= 1):
        raise DataError(
            f"images of {name!r} must be uint8 in [0, 255] or floating point in [0, 1], "
            f"found {inputs.dtype} from {inputs.min()} to {inputs.max()}"
        )
    if inputs.ndim < 4 and inputs.dtype.kind == "f":
        largest = min(LARGEST_FEATURE, float(np.finfo(inputs.dtype).max))  # float16 and float32 have none as large
        if (too_large := np.abs(inputs) > largest).any():
            raise DataError(
                f"features of {name!r} must be finite (NaN marks a missing value) and at most {largest:g} in size, "
                f"found {inputs[too_large][0]}"
            )


def _check_tokens(name: str, inputs: np.ndarray, vocabulary: int) -> None:
    if inputs.ndim != 2 or inputs.dtype.kind not in "iu":
        raise DataError(
            f"texts of {name!r} must be whole numbers of shape (rows, length), found {inputs.dtype} {inputs.shape}"
        )
    if not 1 <= vocabulary <= VOCABULARY:
        raise DataError(f"the vocabulary of {name!r} must have 1 to {VOCABULARY} tokens, got {vocabulary}")
    if inputs.size and not (inputs.min() >= 0 and inputs.max() < vocabulary):
        raise DataError(
            f"tokens of {name!r} must be in [0, {vocabulary}), found values from {inputs.min()} to {inputs.max()}"
        )
