"""Counter-based randomness: a stream is its names and seed, and nothing else."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fl_bench.streams import FACTORS, Seeds, numpy_stream, stream_key, torch_stream

words = st.text(st.characters(min_codepoint=32, max_codepoint=0x2FF), max_size=8)
PINNED = 7761200379376252990
names = st.lists(st.one_of(st.integers(), words), max_size=4).map(tuple)


@given(seed=st.integers(-5, 2**64), first=names, second=names)
def test_different_names_are_different_streams(seed: int, first: tuple, second: tuple) -> None:
    assert (stream_key(seed, *first) == stream_key(seed, *second)) == (first == second)
    assert stream_key(seed, *first) != stream_key(seed + 1, *first)


@given(seed=st.integers(0, 2**64), given_names=names)
def test_keys_fit_a_torch_seed(seed: int, given_names: tuple) -> None:
    assert 0 <= stream_key(seed, *given_names) < 2**63


def test_names_are_not_joined_by_accident() -> None:
    keys = [
        stream_key(1, "a", 1),
        stream_key(1, "a", "1"),
        stream_key(1, "a1"),
        stream_key(1, 1, "a"),
        stream_key(11, "a"),
        stream_key(1, "a", 1, 1),
        stream_key(1, "a", 11),
        stream_key(1),
    ]
    assert len(set(keys)) == len(keys)


def test_numpy_numbers_are_numbers() -> None:
    # Clients and rounds come as int here and as np.int64 there.
    assert stream_key(np.int64(3), "local", np.int64(7)) == stream_key(3, "local", 7)


def test_keys_never_change() -> None:
    # Pinned: records, golden runs and resumed runs depend on these numbers across processes and versions.
    assert stream_key(0, "local", 3, 1) == PINNED
    text = "from fl_bench.streams import stream_key; print(stream_key(0, 'local', 3, 1))"
    process = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True)
    assert int(process.stdout) == PINNED


def test_streams_start_at_their_beginning() -> None:
    first, second = numpy_stream(5, "x", 1), numpy_stream(5, "x", 1)
    assert (first.random(4) == second.random(4)).all()
    assert not np.array_equal(first.random(4), numpy_stream(5, "x", 1).random(4))
    assert torch.equal(
        torch.rand(4, generator=torch_stream(5, "x", 1)), torch.rand(4, generator=torch_stream(5, "x", 1))
    )


def test_neighbouring_streams_are_independent() -> None:
    draws = np.stack([numpy_stream(0, "x", client).standard_normal(400) for client in range(30)])
    correlations = np.corrcoef(draws)[np.triu_indices(30, 1)]
    assert abs(correlations).max() < 0.25  # 435 pairs, each with a deviation of 1/20
    assert abs(draws.mean()) < 0.05  # 12000 numbers: a deviation of 0.009


def test_global_generators_are_not_touched() -> None:
    torch.manual_seed(7)
    before = torch.get_rng_state()
    state = np.random.get_state(legacy=False)  # noqa: NPY002 - the global generator is what must stay as it is
    numpy_stream(0, "x").random(3)
    torch.rand(3, generator=torch_stream(0, "x"))
    assert torch.equal(torch.get_rng_state(), before)
    after = np.random.get_state(legacy=False)  # noqa: NPY002
    assert (after["state"]["key"] == state["state"]["key"]).all()
    assert after["state"]["pos"] == state["state"]["pos"]


def test_one_seed_moves_all_parts_but_those_that_are_varied() -> None:
    assert FACTORS == ("partition", "init", "draws", "batches")  # as records, grids and tables name them
    assert Seeds.of(3) == Seeds(partition=3, init=3, draws=3, batches=3)
    assert Seeds.of(3, {"draws": 5}) == Seeds(partition=3, init=3, draws=5, batches=3)
    with pytest.raises(TypeError):
        Seeds.of(3, {"inits": 5})
