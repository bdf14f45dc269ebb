"""Nets for sequences and texts: equations by a second implementation, what they take, what they depend on."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.func import functional_call

from fl_bench.errors import ConfigError
from fl_bench.federation.models import build_net, check_model, count_parameters, fitting, model_names, net_bytes
from fl_bench.federation.models.steps import Attention, Recurrence

SEQUENCE, TEXT, TOKENS = (6, 128), (80,), 70


@pytest.mark.parametrize(
    ("name", "shape", "vocabulary", "classes", "parameters"),
    [
        # conv5: (6 * 5 + 1) * 32 and (32 * 5 + 1) * 64, FC (64 + 1) * 64, head
        ("cnn1d", SEQUENCE, None, 12, 31 * 32 + 161 * 64 + 65 * 64 + 65 * 12),
        # with 8 numbers for each of 70 tokens
        ("cnn1d", TEXT, TOKENS, 70, 70 * 8 + 41 * 32 + 161 * 64 + 65 * 64 + 65 * 70),
        # three gates of 10 units that see a step, the state and two biases
        ("gru-10", SEQUENCE, None, 12, 3 * 10 * (6 + 10 + 2) + 11 * 12),
        ("gru-10", TEXT, TOKENS, 70, 70 * 8 + 3 * 10 * (8 + 10 + 2) + 11 * 70),
        # tokens, positions; two blocks of attention (192 + 64 outputs), FC 128, FC 64, two norms; a norm and the head
        (
            "char-transformer",
            TEXT,
            TOKENS,
            70,
            (70 + 80) * 64 + 2 * (65 * 256 + 65 * 128 + 129 * 64 + 256) + 128 + 65 * 70,
        ),
    ],
)
def test_parameter_counts(
    name: str, shape: tuple[int, ...], vocabulary: int | None, classes: int, parameters: int
) -> None:
    assert count_parameters(build_net(name, shape, classes, vocabulary=vocabulary)) == parameters
    assert net_bytes(name, shape, classes, vocabulary=vocabulary).weights == 4 * parameters


def test_the_recurrence_is_that_of_torch() -> None:
    ours, theirs = Recurrence(3, 5).double(), nn.GRU(3, 5, batch_first=True).double()
    names = {"weight_ih_l0": "input.weight", "bias_ih_l0": "input.bias"}
    names |= {"weight_hh_l0": "state.weight", "bias_hh_l0": "state.bias"}
    theirs.load_state_dict({name: ours.state_dict()[own] for name, own in names.items()})
    x = torch.randn(4, 9, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    _, last = theirs(x)
    torch.testing.assert_close(ours(x), last[0], rtol=0, atol=1e-12)
    largest = [float(parameter.detach().abs().max()) for parameter in ours.parameters()]
    assert all(0.2 < size <= 5**-0.5 for size in largest)  # as torch starts


def test_attention_is_that_of_torch() -> None:
    ours, theirs = Attention(8, heads=2).double(), nn.MultiheadAttention(8, 2, batch_first=True).double()
    own = ours.state_dict()
    theirs.load_state_dict(
        {
            "in_proj_weight": own["project.weight"],
            "in_proj_bias": own["project.bias"],
            "out_proj.weight": own["join.weight"],
            "out_proj.bias": own["join.bias"],
        }
    )
    x = torch.randn(3, 5, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(ours(x), theirs(x, x, x)[0], rtol=0, atol=1e-12)


def test_a_transformer_tells_places_apart_and_sees_the_whole_text() -> None:
    net = build_net("char-transformer", (6,), 4, key=1, vocabulary=5).double()
    text = torch.tensor([[0.0, 1.0, 2.0, 3.0, 4.0, 0.0]], dtype=torch.float64)
    swapped = text[:, [1, 0, 2, 3, 4, 5]]
    assert (net(text) - net(swapped)).abs().max() > 1e-3
    weights = dict(net.state_dict())
    weights["body.1.weight"] = torch.zeros_like(weights["body.1.weight"])  # without positions a text is a bag
    torch.testing.assert_close(functional_call(net, weights, text), functional_call(net, weights, swapped))


@pytest.mark.parametrize("name", ["cnn1d", "gru-4"])
def test_what_happens_over_time_matters(name: str) -> None:
    net = build_net(name, (2, 16), 3, key=4).double()
    x = torch.randn(5, 2, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    assert (net(x) - net(x.flip(2))).abs().max() > 1e-4
    assert (net(x) - net(x.flip(1))).abs().max() > 1e-4


@pytest.mark.parametrize(
    ("name", "shape", "vocabulary"),
    [
        ("cnn1d", (3, 4), None),
        ("gru-4", (3, 1), None),
        ("linear", (3, 4), None),
        ("mlp-8", (3, 4), None),
        ("cnn1d", (4,), 9),
        ("gru-4", (1,), 9),
        ("char-transformer", (1,), 9),
    ],
)
def test_the_smallest_samples_a_net_accepts(name: str, shape: tuple[int, ...], vocabulary: int | None) -> None:
    x = torch.zeros(2, *shape) if vocabulary is None else torch.full((2, *shape), vocabulary - 1.0)
    assert build_net(name, shape, 5, vocabulary=vocabulary)(x).shape == (2, 5)


@pytest.mark.parametrize(
    ("name", "shape", "vocabulary", "message"),
    [
        ("cnn1d", (3, 3), None, "takes sequences and texts of length 4 and more, and the samples have shape"),
        ("cnn1d", (3,), 9, "and the samples are texts of 3 tokens; these fit: char-transformer, gru-64"),
        ("cnn1d", (64,), None, "sequences and texts.* shape .*these fit: linear, mlp-200"),
        ("gru-4", (1, 8, 8), None, "these fit: .*cnn-small"),
        ("char-transformer", (6, 128), None, "takes texts of length 1 .*these fit: cnn1d, gru-64, linear, mlp-200"),
        ("char-transformer", (80,), None, "takes texts"),
        ("mlp-8", (80,), 70, r"all but texts \(flattened\).* these fit: char-transformer, cnn1d, gru-64"),
        ("linear", (80,), 70, "all but texts"),
        ("cnn-small", (6, 128), None, "images of at least 4x4"),
        ("cnn-small", (80,), 70, "images of at least 4x4"),
        ("gru-99999", (80,), 70, "weights; there may be 2000000000"),
    ],
)
def test_nets_that_do_not_fit_are_refused(
    name: str, shape: tuple[int, ...], vocabulary: int | None, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        build_net(name, shape, 10, vocabulary=vocabulary)


def test_what_fits_is_listed() -> None:
    assert fitting(SEQUENCE) == ["cnn1d", "gru-64", "linear", "mlp-200"]
    assert fitting(TEXT, TOKENS) == ["char-transformer", "cnn1d", "gru-64"]
    takes = {row["name"]: row["inputs"] for row in model_names()}
    assert takes["gru-<width>"] == "sequences and texts of length 1 and more"
    assert takes["char-transformer"] == "texts of length 1 and more"
    check_model("gru-64", TEXT, TOKENS)


@pytest.mark.parametrize("name", ["cnn1d", "gru-4", "char-transformer"])
def test_weights_repeat_and_every_weight_learns(name: str) -> None:
    first, again, other = (build_net(name, (8,), 3, key=key, vocabulary=6) for key in (7, 7, 8))
    assert all(torch.equal(one, two) for one, two in zip(first.parameters(), again.parameters(), strict=True))
    assert not torch.equal(first.head.weight, other.head.weight)
    text = torch.randint(0, 6, (32, 8), generator=torch.Generator().manual_seed(2)).float()
    nn.functional.cross_entropy(first(text), text[:, 0].long() % 3).backward()
    assert all(parameter.grad is not None and bool(parameter.grad.abs().sum() > 0) for parameter in first.parameters())


@pytest.mark.parametrize("name", ["cnn1d", "gru-4", "char-transformer"])
def test_features_are_pooled_to_a_common_width(name: str) -> None:
    net = build_net(name, (8,), 3, vocabulary=6, width=5)
    assert net.features == 5
    assert net(torch.zeros(2, 8)).shape == (2, 3)
