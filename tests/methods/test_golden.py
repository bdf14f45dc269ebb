"""Numbers that move raise a version: three rounds of every method of ours, against the numbers kept in `golden/`.

The runs are those of the contract: six clients of a small made-up federation, one after the other on one thread, in
float64. Momentum instead of Adam, which would turn rounding into steps where a gradient vanishes, so that machines
agree.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from fl_bench.benchmarks.grid.configure import plain
from fl_bench.benchmarks.grid.protocol import Protocol
from fl_bench.datasets.latent_groups import LatentGroups
from fl_bench.datasets.split import Split, SplitSettings, split
from fl_bench.federation.optimizers import Optimizer
from fl_bench.federation.settings import Training
from fl_bench.methods.contract import made_up_data, make_run
from fl_bench.methods.registry import METHODS

if TYPE_CHECKING:
    from collections.abc import Callable

    from fl_bench.datasets.dataset import Dataset
    from fl_bench.federation.run import Run

    Measure = Callable[[str], dict[str, Any]]

pytestmark = pytest.mark.usefixtures("coarse_weights")

FOLDER = Path(__file__).parent / "golden"
OURS = [name for name in METHODS.names() if METHODS[name].__module__.startswith("fl_bench.")]
TRAINING = Training(rounds=3, batch_size=8, optimizer="sgd", momentum=0.9, lr=0.1, precision="float64", engine="loop")
SPLIT = SplitSettings(clients=6, public=0.2, val_fraction=0.1, min_test=2)


@cache
def problem() -> tuple[Dataset, Split]:
    """The contract's data, rounded so that standardising them gives every machine the same bits."""
    dataset = made_up_data()
    dataset = replace(dataset, inputs=(1024 * dataset.inputs).round() / 1024)
    return dataset, split(dataset, LatentGroups(groups=2), SPLIT, seed=0)


@pytest.fixture
def measure(numbers_of: Callable[[Run], dict[str, Any]], sums: Callable[..., dict[str, float]]) -> Measure:
    """What the golden file of a method holds."""

    def look(name: str) -> dict[str, Any]:
        dataset, dealt = problem()
        runs = {"all clients": TRAINING, "two of six a round": replace(TRAINING, participation=0.4)}
        return {
            "protocol": Protocol.now(METHODS[name]).as_dict(),
            "asked": {
                "settings": plain(METHODS[name].config_type()),
                "training": plain(TRAINING),
                "data": {"labels": int(dataset.labels.sum()), **sums([dataset.inputs])},
            },
            "numbers": {what: numbers_of(make_run(name, dataset, dealt, training)) for what, training in runs.items()},
        }

    return look


def where(name: str) -> str:
    """The places of the versions, for who has to raise one."""
    file = METHODS[name].__module__.removeprefix("fl_bench.").replace(".", "/")
    return f"{file}.py `protocol`, or federation/protocol.py or datasets/protocol.py where the change is theirs"


@pytest.mark.parametrize("name", OURS)
def test_numbers_are_those_of_their_version(name: str, measure: Measure, golden: Callable[..., None]) -> None:
    golden(FOLDER / f"{name}.json", measure(name), where(name))


def test_no_golden_file_outlives_its_method() -> None:
    assert {path.stem for path in FOLDER.iterdir()} == set(OURS), "remove the file of a method that is no more"


def test_numbers_that_move_ask_for_a_version(
    measure: Measure, golden: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    step = Optimizer.step
    monkeypatch.setattr(Optimizer, "step", lambda rule, *state: step(replace(rule, lr=1.0001 * rule.lr), *state))
    moved = measure("local")
    for write in (False, True):  # `make golden` does not write numbers of a version that has others
        with pytest.raises(pytest.fail.Exception, match=r"^local: numbers moved \(all clients\.test loss, ") as failed:
            golden(FOLDER / "local.json", moved, where("local"), write=write)
        assert str(failed.value).endswith(
            "): raise its protocol version (methods/local.py `protocol`, or federation/protocol.py or "
            "datasets/protocol.py where the change is theirs) and run `make golden`"
        )


def test_a_raised_version_asks_for_new_golden_numbers(
    measure: Measure, golden: Callable[..., None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    before = (FOLDER / "local.json").read_bytes()
    (tmp_path / "local.json").write_bytes(before)
    found = measure("local")
    golden(tmp_path / "local.json", found, "", write=True)
    assert (tmp_path / "local.json").read_bytes() == before  # the same numbers are left as they are
    monkeypatch.setattr(METHODS["local"], "protocol", METHODS["local"].protocol + 1)
    raised = {**found, "protocol": Protocol.now(METHODS["local"]).as_dict()}
    with pytest.raises(pytest.fail.Exception, match=r"local: the golden numbers are of protocol .*: run `make golden`"):
        golden(tmp_path / "local.json", raised, "", write=False)
    golden(tmp_path / "local.json", raised, "", write=True)
    golden(tmp_path / "local.json", raised, "", write=False)
    with pytest.raises(pytest.fail.Exception, match=r"local: the version of method is below that of local\.json"):
        golden(tmp_path / "local.json", found, "", write=True)


def test_a_run_of_other_settings_is_no_moved_number(golden: Callable[..., None], tmp_path: Path) -> None:
    found: dict[str, Any] = {"protocol": {"method": 1}, "asked": {"settings": {"a": 1.0}}, "numbers": {"b": [1.0, 2.0]}}
    path = tmp_path / "x.json"
    with pytest.raises(pytest.fail.Exception, match="x: there are no golden numbers: run `make golden`"):
        golden(path, found, "", write=False)
    golden(path, found, "", write=True)
    golden(path, {**found, "numbers": {"b": [1.0, 2.0 + 1e-8]}}, "", write=False)
    other = {**found, "asked": {"settings": {"a": 2.0}}, "numbers": {"b": [3.0, 2.0]}}
    with pytest.raises(pytest.fail.Exception, match=r"of another run \(settings\.a\): run `make golden`"):
        golden(path, other, "", write=False)
    golden(path, other, "", write=True)
    for numbers in ({"b": [3.0, 2.0 + 1e-7]}, {"b": [3.0]}, {"b": [3.0, 2]}, {}, {"b": [3.0, 2.0], "c": 1}):
        with pytest.raises(pytest.fail.Exception, match=r"x: numbers moved \([bc]\)"):
            golden(path, {**other, "numbers": numbers}, "", write=True)
