"""A dataset dealt to clients, on one device: what clients may see, what is sealed (federation room)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import torch

from fl_bench.errors import DataError
from fl_bench.sealed import Sealed
from fl_bench.streams import numpy_stream

from . import augment

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np
    from torch import Tensor

    from ..datasets.dataset import Dataset, Description, Modality
    from ..datasets.split import Split

PREPARED_BYTES = 2**30
"""A data set that takes no more than this as a network sees it is kept in that form beside the stored one."""

HIDDEN = -1
"""The label of every sample whose true label is sealed: a method that uses it anyway fails loudly."""


def prepare(inputs: Tensor, modality: Modality, dtype: torch.dtype, *, channels_last: bool = False) -> Tensor:
    """What a network sees: images scaled to [0, 1], then to mean 0.5 and deviation 0.5; all others as they are.

    A network that reads texts is given its tokens in the number format of all inputs, and looks them up.

    Args:
        inputs: stored inputs, shape (..., *shape); uint8 in [0, 255], int32 or float32.
        modality: the kind of data.
        dtype: number format of the result.
        channels_last: whether the numbers of a pixel lie side by side in memory, which convolutions on a CPU are faster
            with; the shape is the same.
    """
    if modality != "image":
        return inputs.to(dtype)
    scale = 127.5 if inputs.dtype == torch.uint8 else 0.5
    seen = inputs.to(dtype).div(scale).sub_(1.0)
    return seen.movedim(-3, -1).contiguous().movedim(-1, -3) if channels_last else seen


@lru_cache(maxsize=1)
def resident(
    inputs: Tensor, about: Description, device: torch.device, dtype: torch.dtype, channels_last: bool
) -> tuple[Tensor, Tensor | None]:
    """Inputs on the device, as stored and as networks see them; the cells of a process mostly share a data set.

    Returns:
        Two tensors of shape (rows, ...): the stored one, and the prepared one with `channels_last` undone, so that its
        rows are contiguous; None where that would take more than `PREPARED_BYTES`.
    """
    stored = inputs.to(device)
    if stored.numel() * torch.finfo(dtype).bits // 8 > PREPARED_BYTES:
        return stored, None
    seen = prepare(stored, about.modality, dtype, channels_last=channels_last)
    return stored, seen.movedim(-3, -1) if channels_last and about.modality == "image" else seen


class PublicPool:
    """The public set U: inputs in the open, in a frozen order; labels sealed."""

    def __init__(self, data: FederatedData, rows: Tensor, labels: Sealed[Tensor]) -> None:
        self._data = data
        self._all: Tensor | None = None
        self.rows = rows
        """Dataset rows of the pool, in its frozen order."""
        self.labels = labels
        """True labels, shape (samples,): opening them marks the run `oracle: public labels`."""

    def __len__(self) -> int:
        return int(self.rows.numel())

    def inputs(self, positions: Tensor | None = None) -> Tensor:
        """Network inputs of the given positions in the pool (all of them by default), shape (samples, *shape).

        Free of charge: a pool is shipped to clients once, which the record says apart (`bytes_one_off`).

        To read: all of them are one tensor, which is handed out again.
        """
        if positions is not None:
            return self._data.inputs_of(self.rows[positions])
        if self._all is None:
            self._all = self._data.inputs_of(self.rows)
        return self._all

    def subset(self, count: int, seed: int, index: int) -> Tensor:
        """`count` positions drawn without replacement for round `index`, ascending; all when count covers the pool."""
        positions = torch.arange(len(self), device=self.rows.device)
        if count >= len(self):
            return positions
        drawn = numpy_stream(seed, "public subset", index).choice(len(self), count, replace=False)
        return positions[torch.from_numpy(drawn).to(positions.device).sort().values]


@dataclass(frozen=True)
class Shards:
    """One list of dataset rows per client, end to end in a single index tensor."""

    rows: Tensor
    """All clients' rows, shape (total,)."""
    sizes: tuple[int, ...]
    """Rows of each client."""

    @classmethod
    def of(cls, lists: Sequence[np.ndarray], device: torch.device) -> Shards:
        """Join one index array per client."""
        parts = [torch.as_tensor(part, dtype=torch.int64) for part in lists]
        return cls(torch.cat(parts).to(device), tuple(part.numel() for part in parts))

    def split(self) -> tuple[Tensor, ...]:
        """Each client's rows, as views."""
        return torch.split(self.rows, list(self.sizes))


class FederatedData:
    """Inputs and labels on the device, and who holds which rows.

    The visible `labels` hold -1 wherever the truth is sealed (public pool, every test set), so that no method
    can use them by accident.

    Args:
        dataset: the data.
        split: who holds which rows.
        device: where they are put.
        dtype: number format of networks.
        channels_last: memory format of images, see `prepare`.
    """

    def __init__(
        self,
        dataset: Dataset,
        split: Split,
        device: torch.device,
        dtype: torch.dtype,
        *,
        channels_last: bool = False,
    ) -> None:
        self.about = dataset.about
        self.dtype = dtype
        self.device = device
        self._channels_last = channels_last and self.about.modality == "image"
        self.inputs, self._seen = resident(dataset.inputs, self.about, device, dtype, self._channels_last)
        truth = dataset.labels.to(device)
        self.train = Shards.of(split.train, device)
        self.validation = Shards.of(split.validation, device)
        self.test = Shards.of(split.test, device)
        self.global_test = torch.as_tensor(split.global_test, dtype=torch.int64, device=device)
        self.labels = torch.full_like(truth, HIDDEN)
        for shards in (self.train, self.validation):
            self.labels[shards.rows] = truth[shards.rows]
        self.sealed_labels = Sealed(truth, "test labels")
        public_rows = torch.as_tensor(split.public, dtype=torch.int64, device=device)
        without = int((truth[public_rows] < 0).sum())
        lacking = f"{without} of {len(public_rows)} public samples come from another data set and have none"
        public_labels = Sealed(truth[public_rows], "public labels", lacking=lacking if without else "")
        self.public = PublicPool(self, public_rows, public_labels)
        self.groups = split.groups and Sealed(split.groups.open_for_evaluation(), split.groups.what)
        """True group of each client, sealed anew for this run; None where the partition has no groups."""
        self.label_counts = self._counted()
        """Private samples per client and class, shape (clients, classes); a client knows its own row only."""

    @property
    def clients(self) -> int:
        """Number of clients."""
        return len(self.train.sizes)

    def check_owners(self) -> None:
        """Refuse data on which nothing could be trained or scored: 0 samples make no mean.

        Raises:
            DataError: a client has no training samples, or no client has test samples.
        """
        without = [client for client, size in enumerate(self.train.sizes) if not size]
        if without:
            raise DataError(
                f"clients {', '.join(map(str, without))} have no training samples; leave them out of the split, or "
                "deal each client at least one (`split` does, whatever the partition)"
            )
        if not any(self.test.sizes):
            raise DataError("no client has test samples to score its model on; deal some, as `split` does")

    def relabel(self, taken_for: Callable[[int, np.ndarray], np.ndarray]) -> int:
        """Let clients take their training labels for others, and return how many labels that changes.

        Args:
            taken_for: a client and its labels, in the order of its samples, to what it takes them for.
        """
        changed = 0
        for client, rows in enumerate(self.train.split()):
            before = self.labels[rows]
            after = torch.from_numpy(taken_for(client, before.cpu().numpy())).to(before)
            changed += int((after != before).sum())
            self.labels[rows] = after
        self.label_counts = self._counted()
        return changed

    def _counted(self) -> Tensor:
        """The visible training labels of each client by class, shape (clients, classes)."""
        classes = self.about.classes
        return torch.stack([torch.bincount(self.labels[rows], minlength=classes) for rows in self.train.split()])

    def reveal_public_labels(self, by: str) -> Tensor:
        """Open the public labels for the method `by`, make them visible in `labels`, and return the pool's rows."""
        self.labels[self.public.rows] = self.public.labels.open(by)
        return self.public.rows

    def inputs_of(self, rows: Tensor, crops: Tensor | None = None) -> Tensor:
        """Network inputs of dataset rows.

        Args:
            rows: any shape.
            crops: crops and flips of images, as `augment.draw` draws them, shape (*rows.shape, 3).
        Returns:
            Shape (*rows.shape, *shape).
        """
        if self._seen is not None and crops is None:
            seen = gathered(self._seen, rows)
            return seen.movedim(-1, -3) if self._channels_last else seen
        stored = gathered(self.inputs, rows)
        if crops is not None:
            stored = augment.apply(stored.flatten(0, -4), crops.flatten(0, -2)).view_as(stored)
        return prepare(stored, self.about.modality, self.dtype, channels_last=self._channels_last)


def gathered(source: Tensor, rows: Tensor) -> Tensor:
    """The named rows of a tensor, shape (*rows.shape, *source.shape[1:]); faster than indexing with a tensor."""
    if rows.dim() == 1:
        return source.index_select(0, rows)
    return source.index_select(0, rows.flatten()).view(*rows.shape, *source.shape[1:])
