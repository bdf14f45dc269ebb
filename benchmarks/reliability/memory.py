"""Memory (benchmarks room): a method takes more than there is, in a control group, under a limit, on a GPU."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from ..records.store import Store
from .seen import BrokenError, NotHereError, Seen

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .place import Place

GROUPS = Path("/sys/fs/cgroup")
"""Where control groups are."""

METHODS = ("fedmd", "noted")
"""The second can take memory."""

GIB = 2**30
"""Bytes."""


def host_out_of_memory(place: Place) -> Seen:
    """A method takes 6 GiB in its third round, in a control group that has 3 GiB for command and worker.

    Expected: exit code 1; the record is `failed` by SIGKILL with two rounds, and says `out of memory?`.

    Recovery: the same command with `--retry`, with more memory, from the checkpoint.
    """
    with _group(3 * GIB) as enter:
        return _take(place, enter, "killed by SIGKILL (out of memory?)")


def address_space_exhausted(place: Place) -> Seen:
    """A method asks for 64 GiB in its third round, where a limit (`ulimit -v`) allows for 32.

    Expected: exit code 1; the record is `failed` with the allocator's words; all other cells are done.

    Recovery: the same command with `--retry`, without the limit.
    """
    if sys.platform != "linux":
        raise NotHereError("it needs Linux, where `ulimit -v` holds")
    return _take(place, ["sh", "-c", f'ulimit -v {32 * GIB // 1024}; exec "$@"', "sh"], "memory", 64 * GIB)


def gpu_out_of_memory(place: Place) -> Seen:
    """A method takes twice the memory of a GPU in its third round.

    Expected: exit code 1; the record is `failed` with the words of torch; all other cells are done.

    Recovery: the same command with `--retry`, on a larger GPU. (Nothing is compared: a GPU may add in another order.)
    """
    import torch

    if not torch.cuda.is_available():
        raise NotHereError("torch sees no GPU")
    results, executor = place.results(1, methods=METHODS), "local[jobs=1,device=cuda]"
    environment = {"FAULTS_MEMORY": str(2 * torch.cuda.mem_get_info()[1]), "FAULTS_DEVICE": "cuda"}
    code, said = place.run(results, executor=executor, environment=environment)
    if code != 1 or "CUDA out of memory" not in said or "Traceback" in said:
        raise BrokenError(f"it ended with {code}: {said[-500:]}")
    again, said = place.run(results, "--retry", executor=executor)
    if again != 0:
        raise BrokenError(f"with `--retry` it ended with {again}: {said[-500:]}")
    return Seen(times=1, exits={code})


FAULTS = (host_out_of_memory, address_space_exhausted, gpu_out_of_memory)
"""The faults of this family."""


def _take(place: Place, before: list[str], words: str, size: int = 6 * GIB) -> Seen:
    results = place.results(1, methods=METHODS)
    code, said = place.run(results, jobs=1, before=before, environment={"FAULTS_MEMORY": str(size)})
    if code != 1 or "Traceback" in said:
        raise BrokenError(f"it ended with {code}: {said[-500:]}")
    if results.check(failed=words) != results.size - 1:
        raise BrokenError(f"other cells are not done: {said[-500:]}")
    (failed,) = (record for record in Store(results.folder).records() if record.status == "failed")
    if len(failed.rounds) != 2:
        raise BrokenError(f"the failed record has {len(failed.rounds)} rounds, and two were finished")
    return Seen(times=1, exits={code}, cells=place.finish(results, "--retry", jobs=1))


@contextmanager
def _group(size: int) -> Iterator[list[str]]:
    """A control group with a limit of memory: words in front of a command that put it there.

    Raises:
        NotHereError: there are no control groups that this process may make.
    """
    memory = GROUPS / "memory"
    root, limit = (memory, "memory.limit_in_bytes") if memory.is_dir() else (GROUPS, "memory.max")
    folder = root / f"fl-bench-faults-{os.getpid()}"
    try:
        folder.mkdir()
        (folder / limit).write_text(str(size))
    except OSError as error:
        with suppress(OSError):
            folder.rmdir()
        raise NotHereError(
            f"a control group with a limit of memory cannot be made, which takes root: {error}"
        ) from None
    try:
        yield ["sh", "-c", f'echo $$ > {folder}/cgroup.procs; exec "$@"', "sh"]
    finally:
        with suppress(OSError):
            folder.rmdir()
