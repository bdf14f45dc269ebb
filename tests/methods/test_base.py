"""The method interface: configuration, needs, reasons why a cell cannot run."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import pytest

from fl_bench.errors import ConfigError
from fl_bench.federation.codecs import Codec
from fl_bench.federation.models import NetBytes
from fl_bench.federation.settings import ModelMix, Training
from fl_bench.methods.base import (
    Facts,
    Method,
    NoSettings,
    Plan,
    Requires,
    not_negative,
    positive,
    unsupported,
)
from fl_bench.methods.registry import METHODS, method

SETTING = {"models": ModelMix(("mlp-8",)), "training": Training(), "public": 0.2, "grouped": True}


@pytest.mark.parametrize(
    ("name", "change", "reason"),
    [
        ("fedmd", {"public": 0.0}, "needs public data, but partition.public is 0"),
        ("feddf", {"public": 0.0}, "needs public data, but partition.public is 0"),
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


class OneWidth(Method[NoSettings]):
    """Shares heads."""

    requires = Requires(one_width=True, shared_init=True)

    def client_update(self, clients: Any, received: Any, rnd: Any) -> None:
        return None


def test_one_width_is_had_by_one_net_or_by_pooling() -> None:
    mixed = ModelMix(("mlp-8", "linear"))
    assert unsupported(OneWidth(), **SETTING) is None
    assert unsupported(OneWidth(), **(SETTING | {"models": mixed})) == (
        "needs one body width, but clients have mlp-8, linear; models.width pools the features of all nets to one width"
    )
    assert unsupported(OneWidth(), **(SETTING | {"models": replace(mixed, width=4)})) is None
    assert unsupported(OneWidth(), **(SETTING | {"models": replace(mixed, assignment=("linear", "linear"))})) is None
    # A width does not make weights alike, and equal weights at the start are asked for all the same.
    assert unsupported(METHODS["fedavg"](), **(SETTING | {"models": replace(mixed, width=4)})) is not None
    own = Training(init="per_client")
    assert "equal initial weights" in (unsupported(OneWidth(), **(SETTING | {"training": own})) or "")
    assert OneWidth().needs().words() == ["one width", "shared init"]


def test_sizes_that_closed_forms_are_written_in() -> None:
    # mlp-8 on 6 features and 4 classes: 92 numbers, 36 of them in the head; 100 public samples of 4 classes.
    net, server = (
        NetBytes(weights=size, trainable=size, head=head, features=8) for size, head in ((368, 144), (28, 9))
    )
    facts = Facts(public=100, classes=4, net=net)
    assert (facts.weights_bytes, facts.head_bytes, facts.body_bytes) == (368, 144, 224)
    assert facts.scores_bytes == 100 * 4 * 4
    assert facts.bytes_of_scores(7) == 7 * 4 * 4
    assert facts.prototypes_bytes(3) == 3 * 8 * 4 + 1  # four bits say which of four classes
    assert replace(facts, classes=9).prototypes_bytes(3) == 3 * 8 * 4 + 2
    assert replace(facts, classes=8).prototypes_bytes(0) == 1
    assert facts.common_bytes == 368
    assert replace(facts, server=server).common_bytes == 28
    wide = replace(facts, number_bytes=8)
    assert (wide.scores_bytes, wide.prototypes_bytes(3)) == (100 * 4 * 8, 3 * 8 * 8 + 1)
    assert replace(facts, codec=Codec.parse("hard")).scores_bytes == 25  # two bits a sample
    assert replace(facts, codec=Codec.parse("float16")).bytes_of_scores(10) == 10 * 4 * 2


def test_a_method_that_does_not_say_has_no_plan() -> None:
    net = NetBytes(weights=1, trainable=1, head=1, features=1)
    assert OneWidth().plan(Facts(public=1, classes=2, net=net)) is None
    assert OneWidth().opening() is None
    plan = Plan()
    assert (plan.up_bytes, plan.down_bytes, plan.first_down_bytes, plan.bound) == (0, 0, 0, False)


@pytest.mark.parametrize(
    ("value", "positive_", "not_negative_"),
    [(1e-9, True, True), (0.0, False, True), (-1e-9, False, False), (float("nan"), False, False)],
)
def test_ranges_of_settings(value: float, positive_: bool, not_negative_: bool) -> None:
    for check, fine, says in ((positive, positive_, "above 0"), (not_negative, not_negative_, "not be negative")):
        with nullcontext() if fine else pytest.raises(ConfigError, match=f"mine.tau must (be )?{says}, got {value}"):
            check("mine", ok=1.0, tau=value)
