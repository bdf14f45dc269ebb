"""Numbers from counters: SplitMix64's published outputs, and what masks and noise are made of."""

from __future__ import annotations

import pytest
import torch

from fl_bench.federation.counters import bits, chosen, derived, normal, step_keys


def test_the_outputs_of_splitmix64() -> None:
    # The first outputs of the reference generator from state 1234567, as unsigned numbers.
    expected = [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]
    found = bits(torch.tensor(1234567), 5)
    assert [number % 2**64 for number in found.tolist()] == expected
    assert torch.equal(step_keys(1234567, 5), found)


def test_streams_of_several_keys_are_those_of_each() -> None:
    keys = step_keys(7, 3)
    together = bits(keys, 4)
    assert together.shape == (3, 4)
    for key, row in zip(keys, together, strict=True):
        assert torch.equal(bits(key, 4), row)
    below = derived(keys, 0)
    assert below.shape == (3,)
    assert len({*below.tolist(), *derived(keys, 1).tolist(), *keys.tolist()}) == 9


def test_noise_is_standard_normal() -> None:
    noise = normal(step_keys(3, 4), (50, 1000), torch.float64)
    assert noise.shape == (4, 50, 1000)
    flat = noise.flatten()  # 200 000 numbers: standard errors of 1/450 of the mean and 1/630 of the deviation
    assert flat.mean().item() == pytest.approx(0, abs=0.01)
    assert flat.std().item() == pytest.approx(1, abs=0.01)
    assert (flat.abs() < 1.959964).double().mean().item() == pytest.approx(0.95, abs=0.002)
    assert flat.isfinite().all()
    neighbours = torch.corrcoef(torch.stack([flat[:-1], flat[1:]]))[0, 1]
    assert neighbours.item() == pytest.approx(0, abs=0.01)
    assert normal(torch.tensor(1), (3,), torch.float32).dtype == torch.float32


@pytest.mark.parametrize("probability", [0.0, 0.1, 0.5, 1.0])
def test_places_are_chosen_with_a_probability(probability: float) -> None:
    places = chosen(torch.tensor(11), (200, 1000), probability)
    assert places.shape == (200, 1000)
    assert places.double().mean().item() == pytest.approx(probability, abs=0.004)  # 4 standard errors at most
    rows = places.double().mean(dim=1)
    assert (rows - probability).abs().max().item() <= 0.08
