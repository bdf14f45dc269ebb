"""Crops and flips: by hand on small images, and which images of a run are changed when."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fl_bench.federation import augment
from fl_bench.federation.augment import PADDING
from fl_bench.federation.batches import Teaching
from fl_bench.federation.data import prepare

if TYPE_CHECKING:
    from torch import Tensor, nn

    from fl_bench.federation.batches import Batch

IMAGE = torch.tensor([[[1, 2], [3, 4]]], dtype=torch.uint8)


def changed(down: int, right: int, flip: int, image: Tensor = IMAGE) -> list[Any]:
    return augment.apply(image[None], torch.tensor([[PADDING + down, PADDING + right, flip]]))[0].tolist()


def test_small_images_by_hand() -> None:
    # A crop of the image with a black border of four pixels; (4, 4) is the image itself.
    assert changed(0, 0, 0) == [[[1, 2], [3, 4]]]
    assert changed(1, 0, 0) == [[[3, 4], [0, 0]]]  # one pixel further down: the lower row moves up
    assert changed(-1, 0, 0) == [[[0, 0], [1, 2]]]
    assert changed(0, 1, 0) == [[[2, 0], [4, 0]]]
    assert changed(0, -1, 0) == [[[0, 1], [0, 3]]]
    assert changed(0, 0, 1) == [[[2, 1], [4, 3]]]
    assert changed(1, 1, 0) == [[[4, 0], [0, 0]]]
    assert changed(0, 1, 1) == [[[0, 2], [0, 4]]]  # cropped first, then mirrored
    assert changed(2, 0, 0) == [[[0, 0], [0, 0]]]


def test_channels_move_together_and_images_apart() -> None:
    images = torch.arange(16.0).reshape(2, 2, 2, 2)
    moved = augment.apply(images, torch.tensor([[4, 4, 1], [5, 4, 0]]))
    # Image 0 is mirrored, image 1 moves up by a row, in both channels.
    assert moved[0].tolist() == [[[1, 0], [3, 2]], [[5, 4], [7, 6]]]
    assert moved[1].tolist() == [[[10, 11], [0, 0]], [[14, 15], [0, 0]]]
    assert moved.dtype == images.dtype


@given(
    height=st.integers(1, 7),
    width=st.integers(1, 7),
    down=st.integers(0, 2 * PADDING),
    right=st.integers(0, 2 * PADDING),
    flip=st.booleans(),
)
def test_it_is_a_padded_crop_of_any_image(height: int, width: int, down: int, right: int, flip: bool) -> None:
    image = np.random.default_rng(0).integers(1, 255, size=(3, height, width))
    padded = np.pad(image, ((0, 0), (PADDING, PADDING), (PADDING, PADDING)))
    expected = padded[:, down : down + height, right : right + width]
    moved = augment.apply(torch.from_numpy(image)[None], torch.tensor([[down, right, int(flip)]]))[0].numpy()
    assert (moved == (expected[:, :, ::-1] if flip else expected)).all()


@pytest.mark.parametrize("rule", ["crop", "crop-flip"])
def test_every_offset_is_drawn(rule: Any) -> None:
    draws = augment.draw(rule, 2000, np.random.default_rng(0))
    assert draws.shape == (2000, 3)
    for column in (0, 1):  # each of nine offsets is expected 222 times, with a deviation of 14
        counts = np.bincount(draws[:, column], minlength=9)
        assert len(counts) == 9
        assert counts.min() > 150
    flips = draws[:, 2].sum()
    assert flips == 0 if rule == "crop" else 900 < flips < 1100
    assert abs(np.corrcoef(draws[:, 0], draws[:, 1])[0, 1]) < 0.1


class Looker:
    """Trains one epoch and remembers the inputs it was shown."""

    def __init__(self, deal, make_data, make_cohort, nets, **options: Any) -> None:
        # One image many times over, so that what is shown differs by the draws alone, not by the order of the batch.
        pixels = torch.arange(1, 10, dtype=torch.uint8).reshape(1, 1, 3, 3).expand(40, 1, 3, 3)
        self.data = make_data((4, 4), test=2, shape=(1, 3, 3), inputs=pixels, augment="crop-flip")
        modules = [torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(9, 3)).double() for _ in range(2)]
        self.cohort = make_cohort(self.data, modules, **options)
        self.seen: list[Tensor] = []

    def look(self, model: nn.Module, batch: Batch) -> Tensor:
        self.seen.append(batch.x)
        return model(batch.x).sum()

    def epochs(self, rnd: int = 0, epochs: int = 1, **where: Any) -> list[list[Any]]:
        """Inputs of each step, sorted, so that batch orders do not matter."""
        self.seen.clear()
        self.cohort.at(rnd).fit(self.look, epochs=epochs, **where)
        return [sorted(images.flatten(1).tolist()) for images in self.seen]

    def plain(self, client: int) -> list[Any]:
        return sorted(self.data.inputs_of(self.data.train.split()[client]).flatten(1).tolist())


@pytest.fixture
def looker(deal, make_data, make_cohort, nets) -> Any:
    return lambda **options: Looker(deal, make_data, make_cohort, nets, **options)


def test_none_shows_the_images_as_they_are(looker) -> None:
    images = looker(augment="none")
    assert images.epochs() == [images.plain(0), images.plain(1)]


def test_online_draws_afresh_for_every_step_and_repeatably(looker) -> None:
    images = looker(augment="online")
    # Two epochs of four images in batches of four are two steps for each of two clients.
    shown = images.epochs(epochs=2)
    assert len(shown) == 4
    assert shown[0] != shown[1]
    assert shown[0] != images.plain(0)
    assert shown == images.epochs(epochs=2)
    assert shown != images.epochs(rnd=1, epochs=2)


def test_frozen_draws_once_for_the_run(looker) -> None:
    images = looker(augment="frozen")
    shown = images.epochs(epochs=2)
    assert shown[0] == shown[1] != images.plain(0)
    assert images.epochs(rnd=3, epochs=2) == shown
    assert images.epochs(stream="personal", epochs=2) == shown


def test_the_border_is_black_after_scaling(looker) -> None:
    # Pixels are at least 1, so only the border can be 0, which is -1 for the network.
    shown = torch.tensor(looker(augment="online").epochs(epochs=2))
    assert (shown == -1).any()
    assert shown.min() == -1


def test_public_images_are_never_changed(looker) -> None:
    images = looker(augment="online")
    public = images.data.public.inputs()[:4]
    told = Teaching(public, torch.zeros(2, 4, 3, dtype=torch.float64))
    assert images.epochs(on=told) == [sorted(public.flatten(1).tolist())] * 2


def test_tables_are_not_images(make_data, make_cohort, nets) -> None:
    data = make_data((4,))
    seen: list[Tensor] = []

    def look(model: nn.Module, batch: Batch) -> Tensor:
        seen.append(batch.x)
        return model(batch.x).sum()

    make_cohort(data, nets(1), augment="online").fit(look)
    rows = prepare(data.inputs[data.train.split()[0]], data.about.modality, data.dtype)
    assert sorted(seen[0].tolist()) == sorted(rows.tolist())
