"""The public pool that a run gets (datasets room): samples of another data set, corrupted inputs; trains nothing.

Changed samples become rows behind those of the data set, so that whatever works with rows works with them. Rows of
clients and test sets stay what they are.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from fl_bench.errors import DataError
from fl_bench.lazy import torch
from fl_bench.streams import numpy_stream

from .corruption import corrupted
from .rounding import ceil_share
from .split import PoolFacts

if TYPE_CHECKING:
    from .dataset import Dataset
    from .split import Split, SplitSettings

NO_LABEL = -1
"""The label of a sample that comes from another data set."""


def dosed(
    dataset: Dataset, dealt: Split, settings: SplitSettings, seed: int, foreign: Dataset | None = None
) -> tuple[Dataset, Split]:
    """Replace and change samples of the public pool as `settings.public` says.

    ceil(foreign * samples) positions of the pool, drawn, get training inputs of the other data set, drawn without
    replacement; then all inputs of the pool are changed by `corrupted`. Sizes and positions stay.

    Args:
        dataset: the data.
        dealt: who holds which of its rows.
        settings: number of clients and shared settings.
        seed: seed of the partition.
        foreign: the data set that `settings.public` names as `from`, where it names one.
    Returns:
        The data with the new rows at the end, and the split with its pool; both unchanged where the pool is plain.
    Raises:
        ConfigError: a change does not exist for this kind of data.
        DataError: the other data set has another shape, or too few training rows.
    """
    pool = settings.pool.canonical()
    if not settings.changes_pool:
        return dataset, dealt
    pool.check_changes(dataset.about.name, dataset.about.modality)
    rows = torch.from_numpy(dealt.public)
    inputs, labels = dataset.inputs[rows].numpy(), dataset.labels[rows].clone()
    replaced = 0
    if foreign is not None and pool.foreign is not None:
        replaced = ceil_share(pool.foreign, len(inputs))
        places = numpy_stream(seed, "partition", "foreign positions").permutation(len(inputs))[:replaced]
        inputs[places] = _drawn(dataset, foreign, replaced, seed)
        labels[torch.from_numpy(places)] = NO_LABEL
    inputs = corrupted(inputs, pool.changes, seed, dataset.about.vocabulary)
    facts = PoolFacts(
        samples=len(inputs),
        foreign=replaced,
        source=None if foreign is None else foreign.about.name,
        source_fingerprint=None if foreign is None else foreign.about.fingerprint,
        missing_classes=tuple(pool.missing_classes(dataset.about.classes, seed)),
        removed=pool.removed or 0.0,
        changes=pool.changes,
        fingerprint=_fingerprint(inputs),
    )
    combined = hashlib.sha256(f"{dealt.fingerprint}{facts.fingerprint}".encode()).hexdigest()
    if not replaced and not pool.changes:  # the rows themselves say all
        return dataset, replace(dealt, pool=facts, fingerprint=combined)
    natural = dataset.natural
    longer = replace(
        dataset,
        inputs=torch.cat([dataset.inputs, torch.from_numpy(inputs)]),
        labels=torch.cat([dataset.labels, labels]),
        natural=None if natural is None else np.concatenate([natural, natural[dealt.public]]),
    )
    added = np.arange(len(dataset.labels), len(longer.labels))
    return longer, replace(dealt, public=added, pool=facts, fingerprint=combined)


def _drawn(dataset: Dataset, foreign: Dataset, count: int, seed: int) -> np.ndarray:
    """Training inputs of the other data set, stored as those of the data set are, shape (count, *shape)."""
    own, other = dataset.about, foreign.about
    if (own.shape, own.modality) != (other.shape, other.modality):
        raise DataError(
            f"partition.public.from asks for samples of {other.name} ({other.modality}, shape {other.shape}), but "
            f"{own.name} is {own.modality} of shape {own.shape}: name a data set of that shape"
        )
    if own.vocabulary != other.vocabulary:
        raise DataError(
            f"partition.public.from asks for texts of {other.name}, which has {other.vocabulary} different tokens, and "
            f"{own.name} has {own.vocabulary}: name a data set of the same vocabulary"
        )
    if count > foreign.train_size:
        raise DataError(
            f"partition.public.foreign asks for {count} samples of {other.name}, which has {foreign.train_size} "
            "training rows: ask for a smaller share of the pool, or a smaller pool"
        )
    rows = numpy_stream(seed, "partition", "foreign rows").permutation(foreign.train_size)[:count]
    inputs, stored = foreign.inputs[torch.from_numpy(rows)].numpy(), dataset.inputs.numpy().dtype
    if inputs.dtype == stored:
        return inputs
    scaled: np.ndarray = np.rint(255 * inputs) if stored == np.uint8 else inputs / 255
    return scaled.astype(stored)


def _fingerprint(inputs: np.ndarray) -> str:
    """SHA-256 (hex) over number format, shape and bytes of the pool's inputs, in their order."""
    digest = hashlib.sha256(f"{inputs.dtype.str}{inputs.shape};".encode())
    digest.update(np.ascontiguousarray(inputs).data)
    return digest.hexdigest()
