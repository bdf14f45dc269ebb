"""What a cell does to its process is undone, named, and met by no other cell."""

from __future__ import annotations

import os
import random
import signal
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from fl_bench.benchmarks.grid.grid import Grid, Overrides
from fl_bench.benchmarks.grid.plugins import load_plugins
from fl_bench.benchmarks.records.reading import read_record, without_clocks
from fl_bench.benchmarks.records.store import Store
from fl_bench.benchmarks.running.isolation import isolated
from fl_bench.benchmarks.running.local import run_cells
from fl_bench.benchmarks.running.runner import Options, run_cell
from fl_bench.methods.registry import METHODS

if TYPE_CHECKING:
    from collections.abc import Callable

    from fl_bench.benchmarks.grid.cell import Cell

    MakeCell = Callable[..., Cell]
    MakeGrid = Callable[..., Grid]


def seen() -> dict[str, Any]:
    """What a cell would meet."""
    return {
        "default dtype": torch.get_default_dtype(),
        "default device": str(torch.get_default_device()),
        "grad mode": torch.is_grad_enabled(),
        "autocast": torch.is_autocast_enabled("cpu"),
        "anomaly detection": torch.is_anomaly_enabled(),
        "threads": torch.get_num_threads(),
        "deterministic algorithms": torch.are_deterministic_algorithms_enabled(),
        "matmul precision": torch.get_float32_matmul_precision(),
        "cudnn flags": torch.backends.cudnn.benchmark,
        "denormal numbers": sys.float_info.min / 2,
        "numpy errors": np.geterr(),
        "python generator": random.getstate(),
        "numpy generator": repr(np.random.get_state()),  # noqa: NPY002 - the one that others may draw from
        "torch generator": torch.get_rng_state().tolist(),
        "working folder": os.getcwd(),
        "signal handlers": signal.getsignal(signal.SIGUSR1),
        "alarm": signal.getitimer(signal.ITIMER_REAL)[0] > 0,
        "environment": dict(os.environ),
        "warnings": list(warnings.filters),
    }


DISTURBANCES: dict[str, Callable[[], Any]] = {
    "default dtype": lambda: torch.set_default_dtype(torch.float64),
    "default device": lambda: torch.set_default_device("meta"),
    "grad mode": lambda: torch.set_grad_enabled(False),
    "autocast": lambda: torch.set_autocast_enabled("cpu", True),
    "anomaly detection": lambda: torch.autograd.set_detect_anomaly(True, check_nan=False),
    "threads": lambda: torch.set_num_threads(3),
    "deterministic algorithms": lambda: torch.use_deterministic_algorithms(True),
    "matmul precision": lambda: torch.set_float32_matmul_precision("medium"),
    "cudnn flags": lambda: setattr(torch.backends.cudnn, "benchmark", True),
    "denormal numbers": lambda: torch.set_flush_denormal(True),
    "numpy errors": lambda: np.seterr(over="raise"),
    "python generator": random.random,
    "numpy generator": np.random.random,
    "torch generator": lambda: torch.randn(1),
    "working folder": lambda: os.chdir("/"),
    "signal handlers": lambda: signal.signal(signal.SIGUSR1, signal.SIG_IGN),
    "alarm": lambda: signal.alarm(1000),
    "environment": lambda: os.environ.update(OMP_NUM_THREADS="7", A_NEW_ONE="1"),
    "warnings": lambda: warnings.simplefilter("error"),
}
"""What others were seen to do, or could do, and what it is a change of."""


@pytest.mark.parametrize("what", DISTURBANCES)
def test_what_is_changed_inside_is_put_back_and_named(what: str) -> None:
    before = seen()
    with isolated(seed=1) as isolation:
        DISTURBANCES[what]()
    assert seen() == before
    # A library may do these two when it is first imported, so that they say nothing of a method.
    assert isolation.changed == (() if what in ("environment", "warnings") else (what,)) or (
        # torch keeps the precision of products in two places
        what == "matmul precision" and isolation.changed == ("matmul precision", "float32 precision")
    )


@pytest.mark.parametrize(
    "what", sorted(DISTURBANCES.keys() - {"working folder", "signal handlers", "environment", "alarm"})
)
def test_a_cell_begins_as_in_a_new_process_whatever_was_before(what: str) -> None:
    with isolated(seed=1):
        fresh = seen()
    with isolated(seed=2):  # only to clear up afterwards
        DISTURBANCES[what]()
        with isolated(seed=1) as isolation:
            found = seen()
            DISTURBANCES[what]()  # as loading may
            isolation.begin()
            again = seen()
        assert isolation.changed == ()
        assert found[what] == again[what] == fresh[what]


def test_all_is_put_back_when_the_cell_is_interrupted() -> None:
    before = seen()
    with pytest.raises(KeyboardInterrupt), isolated(seed=1):  # noqa: PT012 - what happens before is the point
        for disturb in DISTURBANCES.values():
            disturb()
        raise KeyboardInterrupt
    assert seen() == before


def test_a_folder_that_is_gone_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    gone = tmp_path / "gone"
    gone.mkdir()
    with isolated(seed=1) as isolation:
        os.chdir(gone)
        gone.rmdir()
    assert isolation.changed == ("working folder",)
    assert os.getcwd() == str(tmp_path)


@pytest.mark.slow
def test_no_method_of_ours_changes_its_process(tmp_path: Path, cell_of: MakeCell) -> None:
    """Else two records of one cell would differ by which of them came first in its process."""
    changed = {}
    for name in METHODS.names():
        ending = run_cell(cell_of(name, training={"rounds": 1}), Store(tmp_path), Options())
        changed[name] = ending.changed
        assert "changed" not in read_record(ending.folder).run["provenance"]
    assert set(changed.values()) == {()}


PLUGIN = """\
import os, random, signal, sys, warnings
from dataclasses import dataclass
import numpy as np
import torch
from fl_bench.methods.base import Method
from fl_bench.methods.losses import cross_entropy
from fl_bench.methods.registry import method

print("printed when imported")
{at_import}

@dataclass(frozen=True)
class Config:
    pass

@method("{name}")
class Disturbs(Method[Config]):
    def client_update(self, clients, received, rnd):
        clients.fit(cross_entropy)
        print("printed by the method")
        {in_round}
"""

ALL = (
    "torch.set_default_dtype(torch.float64); torch.set_grad_enabled(False); np.seterr(all='raise'); os.chdir('/'); "
    "warnings.simplefilter('error'); torch.set_num_threads(2); random.seed(7); "
    "signal.signal(signal.SIGINT, signal.default_int_handler); torch.set_flush_denormal(True)"
)
"""One line of what a plugin may do."""


@pytest.mark.slow
@pytest.mark.parametrize("when", ["at_import", "in_round"])
def test_a_cell_after_a_plugins_has_the_record_that_it_has_alone(
    tmp_path: Path, small_grid: MakeGrid, monkeypatch: pytest.MonkeyPatch, when: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """The attack: a plugin set another dtype, and the next cell was `done` with 25.73 % instead of 35.12 %."""
    monkeypatch.chdir(tmp_path)
    name = f"disturbs-{when.replace('_', '-')}"
    (tmp_path / "plugin.py").write_text(PLUGIN.format(name=name, **{"at_import": "", "in_round": "", when: ALL}))
    before = seen()
    load_plugins(["plugin.py"])
    assert (os.getcwd(), warnings.filters) == (str(tmp_path), before["warnings"])
    if when == "at_import":
        torch.set_default_dtype(torch.float32)
        torch.set_grad_enabled(True)
        torch.set_flush_denormal(False)
        np.seterr(**before["numpy errors"])
        signal.signal(signal.SIGINT, before["signal handlers"] or signal.SIG_DFL)
    theirs, ours = small_grid(Overrides(methods=f"{name},fedmd")).cells
    expected = without_clocks(run_cell(ours, Store(tmp_path / "alone"), Options()).folder)
    options = Options(plugins=("plugin.py",))
    events = list(run_cells([theirs, ours], Store(Path("after")), options, devices=["cpu"]))
    first, second = (event.ending for event in events if event.ending)
    found = without_clocks(second.folder)
    for part in ("status", "cell", "rounds", "clients", "facts"):
        assert found[part] == expected[part]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["after", "alone", "plugin.py"]
    changed = read_record(first.folder).run["provenance"].get("changed")
    assert (changed is None) == (when == "at_import")
    said = capfd.readouterr()
    assert "printed" not in said.out
    assert "printed by the method" in said.err
