"""The method interface: configuration, needs, reasons why a cell cannot run."""

from __future__ import annotations

from typing import Any

import pytest

from fl_bench.errors import ConfigError
from fl_bench.federation.settings import ModelMix, Training
from fl_bench.methods.base import Method, NoSettings, unsupported
from fl_bench.methods.registry import METHODS, method

SETTING = {"models": ModelMix(("mlp-8",)), "training": Training(), "public": 0.2, "grouped": True}


@pytest.mark.parametrize(
    ("name", "change", "reason"),
    [
        ("fedmd", {"public": 0.0}, "needs public data, but partition.public is 0"),
        ("fedavg", {"models": ModelMix(("mlp-8", "linear"))}, "needs one architecture, but clients have mlp-8, linear"),
        (
            "fedavg",
            {"training": Training(init="per_client")},
            "needs equal initial weights, but training.init is per_client",
        ),
        ("centralized-group", {"grouped": False}, "needs latent groups, which this partition does not have"),
    ],
)
def test_a_cell_that_cannot_run_says_why(name: str, change: dict[str, object], reason: str) -> None:
    assert unsupported(METHODS[name](), **SETTING) is None
    assert unsupported(METHODS[name](), **(SETTING | change)).startswith(reason)


def test_an_explicit_assignment_of_one_architecture_is_one_architecture() -> None:
    mix = ModelMix(("mlp-8", "linear"), assignment=("linear", "linear"))
    assert unsupported(METHODS["fedavg"](), **(SETTING | {"models": mix})) is None


def test_unknown_method_suggests_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"no method is named 'fedmdd'; did you mean 'fedmd'\?"):
        METHODS["fedmdd"]


def test_taken_name_is_refused_and_says_by_whom() -> None:
    with pytest.raises(ConfigError, match=r"'fedmd' is already registered by fl_bench\.methods\.fedmd\.FedMD"):
        method("fedmd")(METHODS["local"])
    assert METHODS["local"].name == "local"


@pytest.mark.parametrize("name", METHODS.names())
def test_every_method_introduces_itself(name: str) -> None:
    cls = METHODS[name]
    assert cls.summary().endswith(".")
    assert cls.category in {"bound", "averaging", "distillation", "personalized", "clustered", "prototypes"}
    assert cls().config == cls.config_type()


def test_a_method_without_settings_needs_no_configuration_class() -> None:
    class Bare(Method):  # type: ignore[type-arg]  # what a hurried plugin writes
        """Nothing to set."""

        def client_update(self, clients: Any, received: Any, rnd: Any) -> None:
            return None

    assert Bare().config == NoSettings()


def test_settings_that_are_no_dataclass_are_refused() -> None:
    class Loose:
        pass

    class Careless(Method[Loose]):
        """Cannot be checked."""

        def client_update(self, clients: Any, received: Any, rnd: Any) -> None:
            return None

    with pytest.raises(ConfigError, match=r"Method\[Loose\] must be a frozen dataclass"):
        method("careless")(Careless)
    assert "careless" not in METHODS
