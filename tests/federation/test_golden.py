"""Numbers of the round loop that move raise its version: short runs of simple methods, against `golden/`.

They differ in what no method decides: optimizers and what they keep, clipping, codecs, mixed and normalised nets,
crops. In float64, one client after the other.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from fl_bench.benchmarks.grid.configure import plain
from fl_bench.benchmarks.grid.protocol import Protocol
from fl_bench.datasets.dataset import build_dataset
from fl_bench.datasets.latent_groups import LatentGroups
from fl_bench.datasets.split import Split, SplitSettings, split
from fl_bench.federation.settings import ModelMix, Training
from fl_bench.methods.contract import make_run
from fl_bench.methods.registry import METHODS

if TYPE_CHECKING:
    from collections.abc import Callable

    from fl_bench.datasets.dataset import Dataset
    from fl_bench.federation.run import Run

    Measure = Callable[[str], dict[str, Any]]

pytestmark = pytest.mark.usefixtures("coarse_weights")

FOLDER = Path(__file__).parent / "golden"
VERSIONS = "federation/protocol.py, or datasets/protocol.py where the change is theirs"
USUAL = Training(rounds=3, batch_size=8, optimizer="sgd", lr=0.1, precision="float64", engine="loop")


@dataclass(frozen=True)
class Case:
    """One run."""

    method: str
    training: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    models: tuple[str, ...] = ("mlp-8",)
    codec: str = "none"
    images: bool = False


SCORES = {"score": "probabilities", "loss": "mse", "digest_lr": 0.1}
CASES = {
    "persist": Case("local", {"momentum": 0.9, "optimizer_state": "persist", "participation": 0.4}),
    "adam": Case("local", {"optimizer": "adam", "lr": 0.01, "optimizer_state": "persist"}),
    "clip": Case("fedavg", {"clip": 0.5, "weight_decay": 0.01, "local_epochs": 2}),
    "participation": Case("fedavg", {"momentum": 0.9, "optimizer_state": "persist", "participation": 0.4}),
    "float16": Case("fedmd", settings=SCORES, codec="float16"),
    "top-2": Case("fedmd", settings=SCORES, codec="top-2"),
    "hard": Case("fedmd", settings=SCORES, codec="hard"),
    "mixed": Case("fedmd", {"init": "per_client"}, models=("mlp-8", "linear")),
    "images": Case("fedavg", {"lr": 0.01, "rounds": 2}, models=("resnet8-bn",), images=True),
}


@cache
def problem(images: bool) -> tuple[Dataset, Split]:
    """Clouds of four classes, or images of which each class has a brighter corner; multiples of 1/64, the same bits
    on every machine."""
    rng = np.random.Generator(np.random.Philox(key=11))
    labels = np.tile(np.arange(4), 30)
    noise = rng.integers(0, 32, (len(labels), 1, 8, 8) if images else (len(labels), 6)) / 64
    if images:
        for row, label in enumerate(labels):
            noise[row, 0, 4 * (label // 2) : 4 * (label // 2) + 4, 4 * (label % 2) : 4 * (label % 2) + 4] += 0.25
    else:
        noise[np.arange(len(labels)), labels] += 0.5
    dataset = build_dataset("made up", noise, labels, source="a test", augment="crop-flip" if images else "none")
    dataset = replace(dataset, inputs=(1024 * dataset.inputs).round() / 1024)
    settings = SplitSettings(clients=4, public=0.2, val_fraction=0.1, min_test=2)
    return dataset, split(dataset, LatentGroups(groups=2), settings, seed=0)


@pytest.fixture
def measure(numbers_of: Callable[[Run], dict[str, Any]], sums: Callable[..., dict[str, float]]) -> Measure:
    """What the golden file of a case holds."""

    def look(name: str) -> dict[str, Any]:
        case = CASES[name]
        dataset, dealt = problem(case.images)
        training = replace(USUAL, **case.training)
        method = METHODS[case.method]
        config = method.config_type(**case.settings)
        mix = ModelMix(case.models)
        run = make_run(case.method, dataset, dealt, training, config=config, models=mix, codec=case.codec)
        found = numbers_of(run)
        # The run is over: asked once more, it says all its rows again, at once.
        last = {key: value for key, value in list(run.rounds())[-1].values.items() if not key.startswith("seconds_")}
        return {
            "protocol": Protocol.now(method).as_dict(),
            "asked": {
                "method": case.method,
                "settings": plain(config),
                "training": plain(training),
                "models": plain(mix),
                "codec": case.codec,
                "data": {"labels": int(dataset.labels.sum()), **sums([dataset.inputs])},
            },
            "numbers": {**found, "last row": {key: accurate(key, value) for key, value in last.items()}},
        }

    return look


def accurate(key: str, value: Any) -> Any:
    """Shares of samples in percent are fractions of small numbers: 1e-6 tells them apart."""
    return round(value, 6) if isinstance(value, float) and ("acc" in key or "top5" in key) else value


@pytest.mark.parametrize("name", CASES)
def test_numbers_are_those_of_their_version(name: str, measure: Measure, golden: Callable[..., None]) -> None:
    golden(FOLDER / f"{name}.json", measure(name), VERSIONS)


def test_no_golden_file_outlives_its_case() -> None:
    assert {path.stem for path in FOLDER.iterdir()} == set(CASES), "remove the file of a case that is no more"


@pytest.mark.parametrize(
    ("case", "function"),
    [
        ("clip", "fl_bench.federation.loop.clip_gradients"),
        ("persist", "fl_bench.lazy.torch._fused_sgd_"),
        ("adam", "fl_bench.lazy.torch._fused_adam_"),
    ],
    ids=lambda name: name.rpartition(".")[2],
)
def test_numbers_that_move_ask_for_a_version(
    measure: Measure,
    golden: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    case: str,
    function: str,
) -> None:
    usual = resolve_name(function)

    def scaled(parameters: list[Any], *rest: Any, **settings: Any) -> None:
        if case == "clip":
            usual(parameters, 1.001 * rest[0])
        else:
            usual(parameters, *rest, **{**settings, "lr": 1.001 * settings["lr"]})

    monkeypatch.setattr(function, scaled)
    with pytest.raises(pytest.fail.Exception) as failed:
        golden(FOLDER / f"{case}.json", measure(case), VERSIONS, write=True)
    assert str(failed.value).startswith(f"{case}: numbers moved (test loss, clients' weights.sum, ")
    assert f"raise its protocol version ({VERSIONS}) and run `make golden`" in str(failed.value)
