"""What a run fixes for every method: values that cannot work are refused with the key, the value and the range."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest

from fl_bench.errors import ConfigError
from fl_bench.federation.settings import ModelMix, Training

NAN = float("nan")


@pytest.mark.parametrize(
    ("key", "value", "range_"),
    [
        ("rounds", 0, "at least 1"),
        ("local_epochs", 0, "at least 1"),
        ("batch_size", -3, "at least 1"),
        ("lr", 0.0, "above 0 and finite"),
        ("lr", NAN, "above 0 and finite"),
        ("lr", float("inf"), "above 0 and finite"),
        ("momentum", 1.0, r"in \[0, 1\)"),
        ("momentum", -0.1, r"in \[0, 1\)"),
        ("momentum", NAN, r"in \[0, 1\)"),
        ("weight_decay", -1e-9, "not be negative"),
        ("weight_decay", NAN, "not be negative"),
        ("clip", 0.0, "above 0 or null"),
        ("clip", NAN, "above 0 or null"),
        ("participation", 0.0, r"in \(0, 1\]"),
        ("participation", 1.1, r"in \(0, 1\]"),
        ("participation", NAN, r"in \(0, 1\]"),
    ],
)
def test_training_out_of_range(key: str, value: Any, range_: str) -> None:
    with pytest.raises(ConfigError, match=rf"training\.{key} must (be )?{range_}, got {value}"):
        Training(**{"optimizer": "sgd", key: value})


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"rounds": 1, "local_epochs": 1, "batch_size": 1, "lr": 1e-9, "weight_decay": 0.0, "participation": 1e-9},
        {"optimizer": "sgd", "momentum": 0.999, "clip": 1e-9, "participation": 1.0},
    ],
)
def test_the_edges_are_allowed(settings: dict[str, Any]) -> None:
    training = Training(**settings)
    assert {field.name for field in fields(training)} >= settings.keys()


def test_adam_has_its_own_momentum() -> None:
    with pytest.raises(ConfigError, match="momentum is a setting of sgd"):
        Training(optimizer="adam", momentum=0.9)


def test_a_mix_of_models() -> None:
    mix = ModelMix(("cnn", "mlp-64"), assignment=("mlp-64", "mlp-64"))
    assert mix.used == ("mlp-64",)  # cnn is listed, but no client has it
    assert mix.server_name == "cnn"
    assert ModelMix(("cnn", "mlp-64")).used == ("cnn", "mlp-64")
    assert ModelMix(("mlp-64", "cnn"), assignment=("cnn", "mlp-64")).used == ("mlp-64", "cnn")  # in the order listed
    assert ModelMix(("cnn",), server="lenet5").server_name == "lenet5"
    assert mix.width is None
    assert ModelMix(("cnn",), width=1).width == 1


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"names": ()}, "at least one architecture"),
        ({"names": ("cnn", "mlp-64", "cnn")}, "must not repeat a name, got cnn, mlp-64, cnn"),
        (
            {"names": ("cnn",), "assignment": ("cnn", "mlp-8", "linear")},
            "uses linear, mlp-8, which models.names does not",
        ),
        ({"width": 0}, r"models\.width must be from 1 to 1048576 or null, got 0"),
    ],
)
def test_mixes_that_cannot_be(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        ModelMix(**settings)
