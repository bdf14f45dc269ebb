"""Trees of stacked weights: parts cut out and put back, matrices, sums and differences."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from fl_bench.federation.models import build_net, net_bytes
from fl_bench.federation.trees import batch_norm_names, chosen, flatten, minus, plus, subtree, under


def tree() -> dict[str, torch.Tensor]:
    """Two rows; names that share a prefix without being in one part; a counter."""
    return {
        "own.head.bias": torch.tensor([[7.0], [8.0]]),
        "own.body.weight": torch.tensor([[[1.0, 2.0]], [[3.0, -4.0]]]),
        "owned.bias": torch.tensor([[9.0], [-9.0]]),
        "own.seen": torch.tensor([5, 6]),
    }


def test_a_part_goes_by_its_names_inside() -> None:
    assert {name: tensor.tolist() for name, tensor in subtree(tree(), "own").items()} == {
        "head.bias": [[7.0], [8.0]],
        "body.weight": [[[1.0, 2.0]], [[3.0, -4.0]]],
        "seen": [5, 6],
    }
    assert list(subtree(tree(), "own.head")) == ["bias"]
    assert subtree(tree(), "ow") == {}  # no module has that name
    whole = tree()
    assert subtree(whole, "") is whole


def test_a_part_goes_back_under_its_name() -> None:
    assert list(under("own", {"head.bias": torch.ones(1)})) == ["own.head.bias"]
    whole = tree()
    back = under("own", subtree(whole, "own"))
    assert back.keys() == whole.keys() - {"owned.bias"}
    assert all(back[name] is whole[name] for name in back)


def test_chosen_tensors_are_those_wanted() -> None:
    assert list(chosen(tree(), lambda name: name.endswith("bias"))) == ["own.head.bias", "owned.bias"]


def test_a_matrix_has_the_numbers_in_the_order_of_the_names() -> None:
    # own.body.weight, own.head.bias, owned.bias; the counter is no number to compare.
    assert flatten(tree()).tolist() == [[1.0, 2.0, 7.0, 9.0], [3.0, -4.0, 8.0, -9.0]]
    backwards = dict(reversed(tree().items()))
    assert torch.equal(flatten(backwards), flatten(tree()))


def test_differences_and_sums_by_hand() -> None:
    one, other = tree(), {name: tensor[:1] for name, tensor in tree().items()}  # one row serves both
    difference = minus(one, other)
    assert difference["own.body.weight"].tolist() == [[[0.0, 0.0]], [[2.0, -6.0]]]
    assert difference["owned.bias"].tolist() == [[0.0], [-18.0]]
    assert difference["own.seen"].tolist() == [5, 6]  # counters are not subtracted
    moved = plus(one, {**difference, "own.seen": torch.tensor([50, 60])}, scale=-0.5)
    assert moved["own.body.weight"].tolist() == [[[1.0, 2.0]], [[2.0, -1.0]]]
    assert moved["own.seen"].tolist() == [50, 60]  # but taken over
    assert plus(one, difference)["owned.bias"].tolist() == [[9.0], [-27.0]]
    assert one["owned.bias"].tolist() == [[9.0], [-9.0]]


numbers = st.lists(st.floats(-1e3, 1e3), min_size=3, max_size=3)


@given(first=numbers, second=numbers)
def test_what_is_taken_away_can_be_added(first: list[float], second: list[float]) -> None:
    one, other = ({"w": torch.tensor([row], dtype=torch.float64)} for row in (first, second))
    assert torch.allclose(plus(other, minus(one, other))["w"], one["w"], rtol=0, atol=1e-9)
    assert torch.equal(plus(one, other, scale=0.0)["w"], one["w"])


def test_batch_norm_layers_are_named_with_their_statistics() -> None:
    net = build_net("resnet8-bn", (1, 8, 8), 4)
    names = batch_norm_names(net)
    weights = net.state_dict()
    assert names <= weights.keys()
    assert {name.rpartition(".")[2] for name in names} == {
        *("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    }
    assert (
        sum(weights[name].numel() * weights[name].element_size() for name in names)
        == net_bytes("resnet8-bn", (1, 8, 8), 4).norms
    )
    assert not batch_norm_names(build_net("mlp-8", (6,), 4))
