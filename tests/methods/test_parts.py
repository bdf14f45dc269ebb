"""Body and head: every number of a net of the zoo belongs to exactly one of them."""

from __future__ import annotations

import pytest

from fl_bench.errors import Unsupported
from fl_bench.federation.models import build_net
from fl_bench.methods.parts import check_bodies, is_body, is_head


@pytest.mark.parametrize("name", ["mlp-8", "linear", "resnet8-bn"])
@pytest.mark.parametrize("width", [None, 3])
def test_the_head_is_the_last_layer_and_the_body_all_before_it(name: str, width: int | None) -> None:
    weights = build_net(name, (1, 8, 8), 4, width=width).state_dict()
    assert {key for key in weights if is_head(key)} == {"head.weight", "head.bias"}
    assert all(is_head(key) != is_body(key) for key in weights)


def test_a_head_goes_by_its_whole_name() -> None:
    assert is_body("body.head.weight")
    assert is_body("headless.weight")


def test_a_body_without_parameters_cannot_be_shared() -> None:
    class Start:
        """What a federation knows of its clients' nets."""

        def __init__(self, *names: str) -> None:
            self.start = {name: dict(build_net(name, (6,), 4).state_dict()) for name in names}

    check_bodies("mymethod", Start("mlp-8", "mlp-4"))
    with pytest.raises(Unsupported, match="mymethod shares the clients' bodies, but that of linear has no parameters"):
        check_bodies("mymethod", Start("mlp-8", "linear"))
