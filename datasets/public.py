"""What the public pool consists of (datasets room): its settings, and which held-out rows it takes; trains nothing.

`partition.public` is a share, or a mapping of these settings. Whatever the mapping says beside `share`, clients hold
the same private rows: what differs between two such runs is the pool. Pools are nested: a stronger dose changes the
samples that a weaker one changes, and more; a smaller plain pool is the beginning of a larger one, a smaller pool of
other samples is drawn anew.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from fl_bench.errors import ConfigError
from fl_bench.later import LATER
from fl_bench.streams import numpy_stream

from .rounding import ceil_share

if TYPE_CHECKING:
    from .source import Facts

IMAGE_CHANGES = ("shift", "blur", "contrast", "invert", "noise")
"""Changes of images, in the order in which they are applied."""

TABLE_CHANGES = ("scale", "shift", "noise")
"""Changes of tables and sequences, in the order in which they are applied."""

CHANGES = {"image": IMAGE_CHANGES, "tabular": TABLE_CHANGES, "sequence": TABLE_CHANGES, "text": ("noise",)}
"""Changes of each kind of data."""

MOST_SEVERE = 5
"""Severities are whole numbers from 0 (unchanged) to this one."""


@dataclass(frozen=True)
class PublicSettings:
    """`partition.public` as a mapping; severities are whole numbers from 0 (none) to 5, see `corruption`."""

    share: float = 0.2
    """Share pi of every class that is held out of the private data for the pool (and of the test set for the global
    test set), rounded up, in [0, 1)."""
    size: int | None = field(default=None, metadata=LATER)
    """Samples of the pool: the first ones of what `share` holds out; nobody uses the others. All by default."""
    from_: str | None = field(default=None, metadata=LATER)
    """`from` in grids: another data set of the same shape, whose training inputs, without labels, replace samples."""
    foreign: float | None = field(default=None, metadata=LATER)
    """Share of the pool that comes from there, rounded up, in [0, 1]; all of it where only `from` is given. The size of
    the pool stays the same."""
    missing: int | tuple[int, ...] | None = field(default=None, metadata=LATER)
    """Classes that the pool lacks: a list, or how many, which are then drawn. Their samples leave before the pool is
    cut to `size` or `public_keep`, so that others take their places while there are any; else the pool gets smaller."""
    removed: float | None = field(default=None, metadata=LATER)
    """Share of each of these classes' samples that is removed, rounded up, in [0, 1]; all of them by default."""
    noise: int = field(default=0, metadata=LATER)
    """Severity of Gaussian noise on public inputs; of tokens drawn anew in texts."""
    blur: int = field(default=0, metadata=LATER)
    """Severity of a Gaussian blur of public images."""
    shift: int = field(default=0, metadata=LATER)
    """Severity of a shift: of public images by pixels, of public tables and sequences by an offset of every column."""
    contrast: int = field(default=0, metadata=LATER)
    """Severity of a loss of contrast of public images."""
    invert: int = field(default=0, metadata=LATER)
    """How many fifths of the public images are negatives."""
    scale: int = field(default=0, metadata=LATER)
    """Severity of a change of every column's unit in public tables and sequences."""

    def __post_init__(self) -> None:
        if not 0 <= self.share < 1:
            raise ConfigError(f"partition.public.share must be in [0, 1), got {self.share}")
        if self.size is not None and self.size < 1:
            raise ConfigError(f"partition.public.size must be at least 1, got {self.size}")
        told = (
            ("foreign", self.from_, "partition.public.from names no data set for it"),
            ("removed", self.missing, "partition.public.missing names no classes"),
        )
        for dose, needed, lacking in told:
            value = getattr(self, dose)
            if value is not None and not 0 <= value <= 1:
                raise ConfigError(f"partition.public.{dose} must be in [0, 1], got {value}")
            if value and needed is None:
                raise ConfigError(f"partition.public.{dose} is {value}, but {lacking}")
        listed = self.missing if isinstance(self.missing, tuple) else ()
        count = self.missing if isinstance(self.missing, int) else 0
        if count < 0 or any(label < 0 for label in listed) or len(set(listed)) < len(listed):
            raise ConfigError(
                "partition.public.missing must be a number of classes or a list of classes from 0 on, each once, "
                f"got {list(listed) or count}"
            )
        for name in {*IMAGE_CHANGES, *TABLE_CHANGES}:
            if not 0 <= getattr(self, name) <= MOST_SEVERE:
                raise ConfigError(
                    f"partition.public.{name} must be a severity from 0 to {MOST_SEVERE}, got {getattr(self, name)}"
                )
        if self.share == 0 and (self.size or self.from_ or self.missing or self.changes):
            raise ConfigError("partition.public.share is 0, so there is no pool to change; ask for a share above 0")

    def canonical(self) -> PublicSettings:
        """The same pool in one spelling: defaults of doses are written out, what a dose of 0 voids is gone."""
        own = self
        if own.from_ is None or own.foreign == 0:
            own = replace(own, from_=None, foreign=None)
        elif own.foreign is None:
            own = replace(own, foreign=1.0)
        if not own.missing or own.removed == 0:
            return replace(own, missing=None, removed=None)
        classes = tuple(sorted(own.missing)) if isinstance(own.missing, tuple) else own.missing
        return replace(own, missing=classes, removed=1.0 if own.removed is None else own.removed)

    @property
    def changes(self) -> dict[str, int]:
        """Severity of each change of inputs, where there is one."""
        names = dict.fromkeys((*IMAGE_CHANGES, *TABLE_CHANGES))
        return {name: severity for name in names if (severity := getattr(self, name))}

    @property
    def labelled(self) -> bool:
        """Whether every sample of the pool has a true label: foreign ones have none."""
        return self.canonical().foreign is None

    def samples(self, held: int, classes: int | None = None, keep: float = 1.0) -> int:
        """Size of the pool, with classes of one size.

        Args:
            held: samples that `share` holds out.
            classes: number of classes, if known; else none is taken to be missing.
            keep: `public_keep`.
        """
        own = self.canonical()
        missing = len(own.missing) if isinstance(own.missing, tuple) else own.missing or 0
        left = held if classes is None else held - round(held * missing * (own.removed or 0) / classes)
        return min(left, ceil_share(keep, held) if self.size is None else self.size)

    def check(self, name: str, held: int | None, classes: int | None) -> None:
        """Refuse a pool that cannot be made, as far as is known before data are loaded.

        Args:
            name: of the data set, for messages.
            held: samples that `share` holds out (at most), if known.
            classes: number of classes, if known.
        Raises:
            ConfigError: says what was asked, what was found and what would do.
        """
        if self.size is not None and held is not None and self.size > held:
            raise ConfigError(
                f"partition.public.size asks for {self.size} samples, but a share of {self.share} of {name} holds out "
                f"{held}: ask for fewer, or for a larger share"
            )
        own = self.canonical()
        if classes is None or own.missing is None:
            return
        listed = own.missing if isinstance(own.missing, tuple) else ()
        if listed and listed[-1] >= classes:
            raise ConfigError(f"partition.public.missing names class {listed[-1]}, but there are 0 to {classes - 1}")
        count = len(listed) if listed else own.missing
        assert isinstance(count, int)
        if count > classes or (count == classes and own.removed == 1):
            raise ConfigError(
                f"partition.public.missing takes {count} of {classes} classes out of the pool and leaves nothing: "
                f"ask for at most {classes - 1}"
            )

    def check_foreign(self, own: Facts, foreign: Facts) -> None:
        """Refuse a data set that public samples cannot come from, as far as is known of both.

        Args:
            own: the data set that clients hold.
            foreign: the one that `from` names.
        Raises:
            ConfigError: says what was asked, what was found and what would do.
        """
        if None not in (own.shape, foreign.shape) and (own.shape, own.modality) != (foreign.shape, foreign.modality):
            raise ConfigError(
                f"partition.public.from asks for samples of {foreign.name} ({foreign.modality}, shape "
                f"{foreign.shape}), but {own.name} is {own.modality} of shape {own.shape}: name one of that shape"
            )
        if None not in (own.vocabulary, foreign.vocabulary) and own.vocabulary != foreign.vocabulary:
            raise ConfigError(
                f"partition.public.from asks for texts of {foreign.name}, which has {foreign.vocabulary} different "
                f"tokens, and {own.name} has {own.vocabulary}: name one of the same vocabulary"
            )

    def check_changes(self, name: str, modality: str | None) -> None:
        """Refuse a change of inputs that the kind of data does not have.

        Args:
            name: of the data set, for messages.
            modality: kind of data, None where it is not known yet.
        Raises:
            ConfigError: says what was asked, what was found and what would do.
        """
        known = CHANGES.get(modality or "")
        for change in self.changes:
            if known is not None and change not in known:
                raise ConfigError(
                    f"partition.public.{change} does not exist for {modality} data such as {name}; there are "
                    f"{', '.join(known)}"
                )

    def missing_classes(self, classes: int, seed: int) -> list[int]:
        """The classes of which samples are removed, ascending; a number of them is drawn, a larger one adding to it."""
        missing = self.canonical().missing
        if isinstance(missing, tuple):
            return list(missing)
        drawn = numpy_stream(seed, "partition", "missing classes").permutation(classes)[: missing or 0]
        return sorted(int(label) for label in drawn)

    def pool_rows(
        self, held: np.ndarray, labels: np.ndarray, name: str, *, classes: int, keep: float, seed: int
    ) -> np.ndarray:
        """The rows of the pool before any sample is replaced, in their frozen order.

        Args:
            held: the rows that `share` holds out, in their frozen order.
            labels: class of every row of the data set, shape (rows,).
            name: of the data set, for messages.
            classes: number of classes.
            keep: `public_keep`.
            seed: seed of the partition.
        Raises:
            ConfigError: fewer samples are left than asked for.
        """
        self.check(name, len(held), classes)
        own, gone = self.canonical(), [np.empty(0, dtype=np.int64)]
        for label in self.missing_classes(classes, seed):
            members = np.flatnonzero(labels[held] == label)
            gone.append(members[len(members) - ceil_share(own.removed or 0, len(members)) :])
        left = np.delete(held, np.concatenate(gone))
        if self.size is not None and self.size > len(left):
            raise ConfigError(
                f"partition.public.size asks for {self.size} samples, but missing classes leave {len(left)} of the "
                f"{len(held)} of {name} that are held out: ask for fewer, or for a larger share"
            )
        return left[: ceil_share(keep, len(held)) if self.size is None else self.size]
