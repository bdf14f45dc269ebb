"""Averages of stacked weights and what each participant counts for."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fl_bench.federation.channel import Uploads
from fl_bench.federation.models import NetBytes
from fl_bench.federation.payloads import Parameters
from fl_bench.methods.averaging import shares, size_bytes, told_sizes, weighted_mean
from fl_bench.methods.base import Facts, Plan
from fl_bench.methods.fedavg import FedAvg, FedAvgConfig


def uploads(sizes: list[int] | None = None) -> Uploads:
    """Clients 0 and 3 with architecture a, client 1 with b; client 2 did not take part."""
    told = torch.tensor(sizes or [10, 20, 30, 70], dtype=torch.float64)
    groups = [
        (name, ids, Parameters({"w": torch.ones(len(ids), 1)}, sizes=told[ids]))
        for name, ids in (("a", [3, 0]), ("b", [1]))
    ]
    return Uploads(groups, owners=["a", "b", "a", "a"], dtype=torch.float64)


def test_weighted_mean_by_hand_and_counters_from_the_first_client() -> None:
    tree = {"w": torch.tensor([[1.0, -2.0], [3.0, 2.0]]), "seen": torch.tensor([5, 9])}
    mean = weighted_mean(tree, torch.tensor([0.25, 0.75]))
    assert mean["w"].tolist() == [[2.5, 1.0]]
    assert mean["seen"].tolist() == [5]
    assert mean["seen"].dtype == torch.int64


def test_weights_of_a_mean_take_the_format_of_what_they_weigh() -> None:
    tree = {"w": torch.tensor([[1.0], [4.0]], dtype=torch.float64)}
    mean = weighted_mean(tree, torch.tensor([0.5, 0.5]))
    assert mean["w"].dtype == torch.float64
    assert mean["w"].tolist() == [[2.5]]


def test_one_client_is_its_own_mean_bit_for_bit() -> None:
    tree = {"w": torch.tensor([[0.1, -3e-7, 1e9]])}
    assert torch.equal(weighted_mean(tree, torch.tensor([1.0]))["w"], tree["w"])


@given(
    values=st.lists(st.floats(-100, 100), min_size=1, max_size=8),
    weights=st.lists(st.floats(0.01, 1), min_size=8, max_size=8),
)
def test_a_mean_lies_between_its_clients_in_any_order(values: list[float], weights: list[float]) -> None:
    numbers = torch.tensor(values, dtype=torch.float64)
    shared = torch.tensor(weights[: len(values)], dtype=torch.float64)
    shared = shared / shared.sum()
    mean = weighted_mean({"w": numbers}, shared)["w"].item()
    assert min(values) - 1e-9 <= mean <= max(values) + 1e-9
    assert weighted_mean({"w": numbers.flip(0)}, shared.flip(0))["w"].item() == pytest.approx(mean, abs=1e-9)


def test_shares_by_hand() -> None:
    # Participants in client order are 0, 1 and 3 with 10, 20 and 70 samples; those of a are 0 and 3.
    assert shares(uploads(), "size").tolist() == pytest.approx([0.1, 0.2, 0.7])
    assert shares(uploads(), "size", "a").tolist() == pytest.approx([1 / 8, 7 / 8])
    assert shares(uploads(), "size", "b").tolist() == [1.0]
    assert shares(uploads(), "uniform").tolist() == pytest.approx([1 / 3] * 3)
    assert shares(uploads(), "uniform", "a").tolist() == [0.5, 0.5]
    assert shares(uploads(), "size").dtype == torch.float64


@given(sizes=st.lists(st.integers(1, 10_000), min_size=4, max_size=4))
def test_shares_sum_to_one_and_are_alike_for_clients_alike(sizes: list[int]) -> None:
    sent = uploads(sizes)
    for by in ("size", "uniform"):
        found = shares(sent, by)  # type: ignore[arg-type]
        assert float(found.sum()) == pytest.approx(1, abs=1e-12)
        assert bool((found > 0).all())
    equal = uploads([7, 7, 7, 7])
    assert torch.allclose(shares(equal, "size"), shares(equal, "uniform"))


def test_sizes_are_told_and_planned_where_they_count() -> None:
    clients = SimpleNamespace(sizes=torch.tensor([3.0, 4.0]))
    assert told_sizes(clients, "size") is clients.sizes
    assert told_sizes(clients, "uniform") is None
    facts = Facts(public=0, classes=3, net=NetBytes(weights=100, trainable=90, head=30, features=4), number_bytes=8)
    assert (size_bytes(facts, "size"), size_bytes(facts, "uniform")) == (8, 0)
    assert FedAvg().plan(facts) == Plan(up_bytes=108, down_bytes=100)
    assert FedAvg(FedAvgConfig(weights="uniform")).plan(facts) == Plan(up_bytes=100, down_bytes=100)
