"""Going on with runs that others began (benchmarks room): what claims to a cell leave to each other, and to workers."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from fl_bench.errors import StorageError
from fl_bench.files import put_at, replacing

from ...federation.journal import beside
from .lease import CONTINUED, numbered
from .record import RecordError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from .lease import Claim


def newest_checkpoint(folder: Path) -> Path | None:
    """The checkpoint of the latest claim that has one; None when none has."""
    found = [(number, path) for number, path in numbered(folder) if path.suffix == ".pt"]
    return max(found)[1] if found else None


def finished_rounds(checkpoint: Path | None) -> int:
    """How many rounds a checkpoint has behind it, and perhaps one more that a kill cut off; 0 where there is none."""
    if checkpoint is None:
        return 0
    try:
        with beside(checkpoint).open("rb") as file:
            return sum(1 for _ in file)
    except OSError:  # it has gone on, or ended
        return 0


def inherit(claim: Claim, take_over: Callable[[Path, Path], bool]) -> None:
    """Go on from the newest whole checkpoint of an earlier claim: it becomes this claim's, and the others go away.

    Args:
        claim: of this process.
        take_over: makes the checkpoint of the first path that of the second, with its rounds, where it can be read;
            says whether it did.
    Raises:
        RecordError: the file system does not let us.
    """
    own = claim.checkpoint
    left = sorted(numbered(claim.folder), reverse=True)
    left = [(number, path) for number, path in left if number <= claim.number and path.suffix in CONTINUED]
    try:
        for _, path in left:
            if path.suffix == ".pt" and not own.exists():
                with suppress(FileNotFoundError):  # a later claim has it, which `check` will see
                    take_over(path, own)
        mine = (own, beside(own)) if own.exists() else ()
        for _, path in left:
            if path not in mine:
                path.unlink(missing_ok=True)
    except (OSError, StorageError) as error:
        said = str(error) if isinstance(error, StorageError) else error.strerror
        raise RecordError(f"cannot go on from {claim.folder}: {said}") from error


def keep(claim: Claim, state: bytes, rounds: bytes, place: int) -> None:
    """Take in what a worker elsewhere has kept: its newest state, and the rounds that it finished since the last time.

    Args:
        claim: under which it runs.
        state: the content of the checkpoint.
        rounds: what was added to the file of rounds, from `place` on.
        place: bytes of that file which came before.
    Raises:
        StorageError: the disk does not take it; the checkpoint before is whole, as long as `place` is behind it.
    """
    put_at(beside(claim.checkpoint), rounds, place)
    with replacing(claim.checkpoint) as temporary:
        temporary.write_bytes(state)


def kept(claim: Claim) -> tuple[bytes, bytes]:
    """The state and the rounds that a claim has inherited or kept; both empty where there are none.

    Raises:
        RecordError: they cannot be read.
    """
    try:
        if not claim.checkpoint.exists():
            return b"", b""
        return claim.checkpoint.read_bytes(), beside(claim.checkpoint).read_bytes()
    except OSError as error:
        raise RecordError(f"cannot read {claim.checkpoint}: {error.strerror}") from error
