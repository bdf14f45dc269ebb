"""What claims leave to each other: the newest whole checkpoint with its rounds, copied, and nothing else."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pytest

from fl_bench.benchmarks.records.continuing import inherit, keep, kept, newest_checkpoint
from fl_bench.benchmarks.records.lease import claiming
from fl_bench.benchmarks.records.record import RecordError
from fl_bench.errors import StorageError
from fl_bench.federation.journal import beside

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from fl_bench.benchmarks.records.lease import Claim


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "digits" / ".0-key.part"


@pytest.fixture
def claim(folder: Path) -> Iterator[Claim]:
    folder.mkdir(parents=True)
    (folder / "4-dead.rounds").write_text("of a kill before the first checkpoint")
    for number, content in ((1, "whole 1"), (2, "whole 2"), (9, "damaged"), (10, "damaged")):
        (folder / f"{number}-t.pt").write_text(content)
        (folder / f"{number}-t.rounds").write_text(f"rounds {number}")
    with claiming(folder) as made:
        yield made


def take(old: Path, new: Path) -> bool:
    if not old.read_text().startswith("whole"):
        return False
    beside(new).write_text(beside(old).read_text())
    os.replace(old, new)
    return True


def test_the_newest_whole_checkpoint_is_continued_and_the_others_go(folder: Path, claim: Claim) -> None:
    assert claim.number == 11
    (folder / "12-u.pt").write_text("of a later claim")
    inherit(claim, take)
    assert kept(claim) == (b"whole 2", b"rounds 2")
    assert set(folder.iterdir()) == {claim.path, claim.checkpoint, beside(claim.checkpoint), folder / "12-u.pt"}
    inherit(claim, take)
    assert kept(claim) == (b"whole 2", b"rounds 2")


def test_where_none_is_whole_nothing_stays(folder: Path, claim: Claim) -> None:
    inherit(claim, lambda *_: False)
    assert kept(claim) == (b"", b"")
    assert list(folder.iterdir()) == [claim.path]
    assert newest_checkpoint(folder) is None


def test_a_later_claim_may_be_quicker(folder: Path, claim: Claim) -> None:
    def late(old: Path, new: Path) -> bool:
        old.unlink()
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))

    inherit(claim, late)
    assert list(folder.iterdir()) == [claim.path]


@pytest.mark.parametrize(
    "error", [PermissionError(errno.EACCES, "Permission denied"), StorageError("Permission denied")]
)
def test_a_folder_that_does_not_let_us_is_named(folder: Path, claim: Claim, error: Exception) -> None:
    def refuse(*_: Path) -> bool:
        raise error

    with pytest.raises(RecordError, match=r"cannot go on from .*part: Permission denied"):
        inherit(claim, refuse)
    assert len(list(folder.iterdir())) == 10  # four checkpoints with their rounds, those without one, the claim


def test_what_a_worker_kept_is_added_to_what_it_kept_before(folder: Path, claim: Claim) -> None:
    keep(claim, b"state 1", b"one ", 0)
    keep(claim, b"state 2", b"two ", 4)
    assert kept(claim) == (b"state 2", b"one two ")
    assert newest_checkpoint(folder) == claim.checkpoint
    keep(claim, b"state 0", b"anew", 0)
    assert kept(claim) == (b"state 0", b"anew")
    beside(claim.checkpoint).unlink()
    with pytest.raises(RecordError, match="cannot read"):
        kept(claim)
