"""Codecs of scores: their length in bytes, and what the receiver decodes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fl_bench.errors import ConfigError
from fl_bench.federation.codecs import Codec
from fl_bench.federation.payloads import Scores

probabilities = arrays(np.float64, (2, 4, 5), elements=st.floats(0.01, 1)).map(
    lambda draws: torch.from_numpy(draws / draws.sum(axis=-1, keepdims=True))
)


@pytest.mark.parametrize(
    ("text", "samples", "classes", "nbytes"),
    [
        ("none", 100, 10, 4000),  # 4 bytes per number
        ("float16", 100, 10, 2000),  # 2 bytes per number
        ("hard", 100, 10, 50),  # ceil(log2 10) = 4 bits per sample
        ("hard", 3, 47, 3),  # 18 bits are 3 bytes
        ("top-3", 100, 10, 1350),  # 3 * (32 + 4) bits = 13.5 bytes per sample
        ("top-1", 1, 100, 5),  # 32 + 7 bits
        ("top-20", 100, 10, 4500),  # there are but 10 classes to keep, each with its 4 bits of index
    ],
)
def test_length(text: str, samples: int, classes: int, nbytes: int) -> None:
    assert Codec.parse(text).nbytes(samples, classes) == nbytes
    scores = Scores(torch.full((2, samples, classes), 1 / classes))
    assert Codec.parse(text).code(scores).nbytes() == [nbytes] * 2


def test_kept_numbers_of_a_float64_run_weigh_eight_bytes() -> None:
    # 100 samples * 3 classes * (64 + 4) bits
    assert Codec.parse("top-3").code(Scores(torch.full((1, 100, 10), 0.1).double())).nbytes() == [2550]


@pytest.mark.parametrize("text", ["top-0", "top-", "top--1", "top-1.5", "float8", "Hard", "3", ""])
def test_other_names_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="known: none, float16, hard, top-<k>"):
        Codec.parse(text)


@pytest.mark.parametrize("text", ["none", "float16", "hard", "top-2"])
def test_what_a_method_has_coded_stays_as_it_is(text: str) -> None:
    coded = Scores(torch.tensor([[[0.7, 0.3]]]), coded_bytes=torch.tensor([5]))
    assert Codec.parse(text).code(coded) is coded


def test_decoded_by_hand() -> None:
    p = torch.tensor([[[0.5, 0.1, 0.3, 0.1]]])
    # top-2 keeps 0.5 and 0.3 and spreads the missing 0.2 over the two other classes.
    assert Codec.parse("top-2").code(Scores(p)).values[0, 0].tolist() == pytest.approx([0.5, 0.1, 0.3, 0.1])
    # top-1 keeps 0.5 and spreads 0.5 over three.
    assert Codec.parse("top-1").code(Scores(p)).values[0, 0].tolist() == pytest.approx([0.5, 1 / 6, 1 / 6, 1 / 6])
    assert Codec.parse("hard").code(Scores(p)).values[0, 0].tolist() == [1.0, 0.0, 0.0, 0.0]
    # Between 1/4 and 1/2 float16 has 11 significant bits: steps of 2^-12; 0.3 * 4096 = 1228.8, so 1229/4096.
    assert Codec.parse("float16").code(Scores(p)).values[0, 0, 2].item() == 1229 / 4096
    assert torch.equal(Codec.parse("none").code(Scores(p)).values, p)


@given(p=probabilities, keep=st.integers(1, 6))
def test_top_k_keeps_the_largest_and_the_mass(p: torch.Tensor, keep: int) -> None:
    decoded = Codec.parse(f"top-{keep}").code(Scores(p)).values
    assert torch.allclose(decoded.sum(dim=-1), torch.ones(2, 4, dtype=torch.float64))
    kept = p.topk(min(keep, 5), dim=-1)
    assert torch.equal(decoded.gather(-1, kept.indices), kept.values)
    assert (decoded >= 0).all()


@given(p=probabilities)
def test_hard_labels_are_one_hot_at_the_top(p: torch.Tensor) -> None:
    decoded = Codec.parse("hard").code(Scores(p)).values
    assert torch.equal(decoded.argmax(dim=-1), p.argmax(dim=-1))
    assert torch.equal(decoded.sort(dim=-1).values[..., -2:], torch.tensor([0.0, 1.0]).double().expand(2, 4, 2))


@pytest.mark.parametrize("text", ["hard", "top-2"])
def test_logits_have_no_top_k_and_no_label(text: str) -> None:
    logits = Scores(torch.randn(1, 3, 4, generator=torch.Generator().manual_seed(0)), form="logits")
    with pytest.raises(ConfigError, match="needs probabilities"):
        Codec.parse(text).code(logits)
    assert Codec.parse("float16").code(logits).nbytes() == [24]


@pytest.mark.parametrize("text", ["none", "float16", "hard", "top-2"])
def test_coding_leaves_the_rest_of_the_message(text: str) -> None:
    scores = Scores(torch.full((2, 3, 4), 0.25), rows=torch.tensor([5, 6, 7]))
    coded = Codec.parse(text).code(scores)
    assert coded.rows is scores.rows
    assert coded.form == "probabilities"
    assert coded.values.dtype == scores.values.dtype
    assert torch.equal(scores.values, torch.full((2, 3, 4), 0.25))  # the sender's stay what they are
