"""What a cell may change of its process (benchmarks room): fresh before each cell, compared and put back after it.

A run should be the same in whichever process it comes, after whichever others. What decides numbers is what a new
process has (`FRESH`) when a cell begins; the global generators, of which fl-bench itself draws nothing, start from the
seed of the cell, so that a method that draws from them does so again in every other process.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import threading
import warnings
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from fl_bench.lazy import np, torch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PRECISIONS = {
    **dict.fromkeys(("backends", "backends.cudnn", "backends.mkldnn", "backends.cuda.matmul"), "none"),
    **dict.fromkeys(("backends.cudnn.conv", "backends.cudnn.rnn"), "tf32"),
    **dict.fromkeys(("backends.mkldnn.matmul", "backends.mkldnn.conv", "backends.mkldnn.rnn"), "none"),
}
"""What torch has to begin with; the round loop says of its own what it wants of a GPU."""

FRESH = {
    "default dtype": "float32",
    "default device": None,
    "grad mode": True,
    "autocast": (False, False),
    "anomaly detection": False,
    "threads": 1,  # of a kernel: clients and cells share the cores, not the kernels of one step
    "deterministic algorithms": (False, False),
    "matmul precision": "highest",
    "float32 precision": PRECISIONS,
    "cudnn flags": (True, False, False),
    "denormal numbers": True,
    "numpy errors": {"divide": "warn", "over": "warn", "under": "ignore", "invalid": "warn"},
}
"""What cells begin with, whatever plugins did when they were imported: what a new process has, but for threads."""

OF_LIBRARIES = ("KMP_",)
"""How variables begin that libraries set for good when they are imported."""

SWITCHED = ("enabled", "benchmark", "deterministic")
"""Flags of cuDNN that decide numbers."""


class Isolation:
    """The process of a cell.

    Args:
        seed: of the global generators of Python, NumPy and torch.
    """

    def __init__(self, seed: int) -> None:
        self.changed: tuple[str, ...] = ()
        """After the cell: what was not as it began with, and was put back. The environment and filters of warnings are
        put back, too, but not named: libraries add to them when they are first imported."""
        self._seed = seed
        self._parts = _parts()
        self._before = {name: part.read() for name, part in self._parts.items()}
        self._environment = dict(os.environ)
        self._began: dict[str, Any] = {}
        self.begin()

    def begin(self) -> None:
        """Make all as a cell begins with; again when libraries and data are loaded, which may draw random numbers."""
        for name, part in self._parts.items():
            fresh = FRESH.get(name, self._before[name])
            if part.read() != fresh:
                part.write(fresh)
        random.seed(self._seed)
        np.random.seed(self._seed % 2**32)
        torch.manual_seed(self._seed)
        self._began = {name: part.read() for name, part in self._parts.items()}

    def compare(self) -> None:
        """Name what has changed."""
        self.changed = tuple(name for name, part in self._parts.items() if part.read() != self._began[name])

    def end(self) -> None:
        """Put all back as it was."""
        for name, part in self._parts.items():
            if part.read() != self._before[name]:
                part.write(self._before[name])
        _restore_environment(self._environment)


@contextmanager
def isolated(seed: int) -> Iterator[Isolation]:
    """Inside, a cell finds what a fresh process has; after it, all is as it was before.

    Signal handlers are put back in the main thread only, where alone they can be set.

    Args:
        seed: of the global generators of Python, NumPy and torch.
    """
    isolation = Isolation(seed)
    try:
        with warnings.catch_warnings():
            yield isolation
        isolation.compare()
    finally:
        isolation.end()


@dataclass(frozen=True)
class _Part:
    """A piece of a process's state; what `read` returns can be compared, and written back."""

    read: Callable[[], Any]
    write: Callable[[Any], Any]


def _parts() -> dict[str, _Part]:
    parts = {
        "default dtype": _Part(
            lambda: str(torch.get_default_dtype()).removeprefix("torch."),
            lambda name: torch.set_default_dtype(getattr(torch, name)),
        ),
        "default device": _Part(_default_device, torch.set_default_device),
        "grad mode": _Part(torch.is_grad_enabled, torch.set_grad_enabled),
        "autocast": _Part(
            lambda: (torch.is_autocast_enabled("cpu"), torch.is_autocast_enabled("cuda")),
            lambda on: (torch.set_autocast_enabled("cpu", on[0]), torch.set_autocast_enabled("cuda", on[1])),
        ),
        "anomaly detection": _Part(torch.is_anomaly_enabled, torch.autograd.set_detect_anomaly),
        "threads": _Part(torch.get_num_threads, torch.set_num_threads),
        "deterministic algorithms": _Part(
            lambda: (
                torch.are_deterministic_algorithms_enabled(),
                torch.is_deterministic_algorithms_warn_only_enabled(),
            ),
            lambda how: torch.use_deterministic_algorithms(how[0], warn_only=how[1]),
        ),
        "matmul precision": _Part(_matmul_precision, _set_matmul_precision),
        "float32 precision": _Part(_precisions, _set_precisions),
        "cudnn flags": _Part(_cudnn_flags, _set_cudnn_flags),
        "denormal numbers": _Part(lambda: sys.float_info.min / 2 > 0, lambda on: torch.set_flush_denormal(not on)),
        "numpy errors": _Part(np.geterr, lambda errors: np.seterr(**errors)),
        "python generator": _Part(random.getstate, random.setstate),
        "numpy generator": _Part(_numpy_generator, lambda state: np.random.set_state(_as_state(state))),
        "torch generator": _Part(_torch_generators, _set_torch_generators),
        "working folder": _Part(_folder, _set_folder),
    }
    if threading.current_thread() is threading.main_thread():
        parts["signal handlers"] = _Part(_handlers, _set_handlers)
        if hasattr(signal, "setitimer"):
            parts["alarm"] = _Part(
                lambda: signal.getitimer(signal.ITIMER_REAL)[0] > 0,
                lambda on: None if on else signal.setitimer(signal.ITIMER_REAL, 0),
            )
    return parts


def _default_device() -> str | None:
    """The device that tensors are made on; None for the CPU, which needs no mode that asks at every call."""
    device = torch.get_default_device()
    return None if device.type == "cpu" else str(device)


def _matmul_precision() -> str:
    """Of products in float32; torch refuses to name one where its backends disagree."""
    try:
        return torch.get_float32_matmul_precision()
    except RuntimeError:
        return "mixed"


def _set_matmul_precision(precision: str) -> None:
    if precision != "mixed":
        torch.set_float32_matmul_precision(precision)


def _precisions() -> dict[str, str]:
    """Of float32 in each backend, where torch keeps it so; `none` is that of the backend around, `ieee` in the end."""
    if not hasattr(torch.backends, "fp32_precision"):
        return dict(PRECISIONS)
    return {path: _backend(path).fp32_precision.replace("ieee", "none") for path in PRECISIONS}


def _set_precisions(values: dict[str, str]) -> None:
    for path, value in values.items():
        _backend(path).fp32_precision = value


def _backend(path: str) -> Any:
    return attrgetter(path)(torch)


def _cudnn_flags() -> tuple[bool, ...]:
    return tuple(getattr(torch.backends.cudnn, flag) for flag in SWITCHED)


def _set_cudnn_flags(values: tuple[bool, ...]) -> None:
    for flag, value in zip(SWITCHED, values, strict=True):
        setattr(torch.backends.cudnn, flag, value)


def _numpy_generator() -> tuple[Any, ...]:
    """The state, with its array as bytes, which compare."""
    name, keys, *rest = np.random.get_state()
    return (name, np.asarray(keys).tobytes(), *rest)


def _as_state(state: tuple[Any, ...]) -> tuple[Any, ...]:
    name, keys, *rest = state
    return (name, np.frombuffer(keys, dtype=np.uint32), *rest)


def _torch_generators() -> tuple[bytes, ...]:
    """The states of the processor's generator and, where GPUs are in use, of theirs."""
    in_use = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]  # torch's
    states = [torch.get_rng_state(), *(torch.cuda.get_rng_state_all() if in_use else ())]
    return tuple(state.numpy().tobytes() for state in states)


def _set_torch_generators(states: tuple[bytes, ...]) -> None:
    first, *gpus = [torch.frombuffer(bytearray(state), dtype=torch.uint8) for state in states]
    torch.set_rng_state(first)
    if gpus:
        torch.cuda.set_rng_state_all(gpus)


def _folder() -> str | None:
    """The working folder; None where it is gone."""
    try:
        return os.getcwd()
    except OSError:
        return None


def _set_folder(folder: str | None) -> None:
    if folder is not None:
        with suppress(OSError):  # it is gone: nothing of ours is found by it
            os.chdir(folder)


def _handlers() -> dict[int, Any]:
    """What Python does at each signal; None where other code than Python's has set it."""
    return {number: signal.getsignal(number) for number in sorted(signal.valid_signals())}


def _set_handlers(handlers: dict[int, Any]) -> None:
    for number, handler in handlers.items():
        if handler is not None and signal.getsignal(number) is not handler:
            signal.signal(number, handler)


def _restore_environment(before: dict[str, str]) -> None:
    for name in [name for name in os.environ if name not in before and not name.startswith(OF_LIBRARIES)]:
        del os.environ[name]
    for name, value in before.items():
        if os.environ.get(name) != value:
            os.environ[name] = value
