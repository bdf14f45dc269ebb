"""What travels: bytes per client, rows taken, groups joined, copies detached."""

from __future__ import annotations

import io
import pickle
from typing import TYPE_CHECKING

import pytest
import torch

from fl_bench.federation.payloads import (
    Bundle,
    Labels,
    Parameters,
    Payload,
    Prototypes,
    Scalars,
    Scores,
    label_bits,
)

if TYPE_CHECKING:
    from collections.abc import Callable


def numbers(*shape: int, offset: float = 0.0) -> torch.Tensor:
    return torch.arange(int(torch.tensor(shape).prod()), dtype=torch.float32).reshape(shape) + offset


EACH: dict[str, Callable[[int, float], Payload]] = {
    "Scores": lambda clients, offset: Scores(numbers(clients, 5, 3, offset=offset), form="logits"),
    "Labels": lambda clients, offset: Labels(numbers(clients, 5, offset=offset).long(), classes=47),
    "Parameters": lambda clients, offset: Parameters(
        {"head.weight": numbers(clients, 2, 3, offset=offset), "head.bias": numbers(clients, 2, offset=offset)}
    ),
    "Prototypes": lambda clients, offset: Prototypes(
        numbers(clients, 3, 2, offset=offset), numbers(clients, 3, offset=offset) % 2 == 0
    ),
    "Scalars": lambda clients, offset: Scalars({"loss": numbers(clients, offset=offset), "size": numbers(clients)}),
    "coded Parameters": lambda clients, offset: Parameters(
        {"w": numbers(clients, 2, offset=offset)}, coded_bytes=torch.arange(clients) + int(offset)
    ),
    "Bundle": lambda clients, offset: Bundle(
        {
            "update": Parameters({"w": numbers(clients, 2, offset=offset)}, coded_bytes=torch.arange(clients) + 3),
            "cluster": Labels(numbers(clients, 1, offset=offset).long(), classes=4),
        }
    ),
}


def same(one: Payload, other: Payload) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.tensors(), other.tensors(), strict=True))


@pytest.mark.parametrize(
    ("payload", "nbytes"),
    [
        # 5 samples * 3 classes * 4 bytes; float64 numbers weigh twice as much.
        (Scores(numbers(2, 5, 3)), [60, 60]),
        (Scores(numbers(2, 5, 3).double()), [120, 120]),
        (Scores(numbers(2, 5, 3), coded_bytes=torch.tensor([7, 8])), [7, 8]),
        # ceil(log2 47) = 6 bits: 5 labels are 30 bits, 4 bytes; the int64 they are held in does not count.
        (Labels(numbers(2, 5).long(), classes=47), [4, 4]),
        # 8 labels of a binary problem are one byte, 9 are two.
        (Labels(numbers(1, 8).long(), classes=2), [1]),
        (Labels(numbers(1, 9).long(), classes=2), [2]),
        # (6 + 2) float32 numbers and an int64 counter.
        (
            Parameters({"w": numbers(3, 2, 3), "b": numbers(3, 2), "count": numbers(3).long()}),
            [40, 40, 40],
        ),
        # Client 0 holds two of three classes, client 1 none: 2 classes * 4 features * 4 bytes, or nothing, and a byte
        # whose first three bits say which. Bits of nine classes take two bytes.
        (Prototypes(numbers(2, 3, 4), torch.tensor([[True, False, True], [False] * 3])), [32 + 1, 0 + 1]),
        (Prototypes(numbers(1, 8, 4), torch.tensor([[False] * 7 + [True]])), [16 + 1]),
        (Prototypes(numbers(1, 9, 4), torch.tensor([[True] * 9])), [9 * 16 + 2]),
        (Scalars({"loss": numbers(2), "n": numbers(2).double()}), [12, 12]),
        # Three matrices of 5 * 3 for each of two clients; two models of (6 + 2) numbers for each.
        (Scores(numbers(2, 3, 5, 3)), [180, 180]),
        (Parameters({"w": numbers(2, 2, 6), "b": numbers(2, 2, 2)}), [64, 64]),
        (Parameters({"w": numbers(2, 6)}, coded_bytes=torch.tensor([0, 9])), [0, 9]),
        # 8 bytes of weights (client 1: 5 after coding), one class of 4 features or none and the bits that say so, and
        # 2 bits of a label.
        (
            Bundle(
                {
                    "weights": Parameters({"w": numbers(2, 2)}, coded_bytes=torch.tensor([8, 5])),
                    "classes": Prototypes(numbers(2, 3, 4), torch.tensor([[False, False, True], [False] * 3])),
                    "cluster": Labels(numbers(2, 1).long(), classes=4),
                }
            ),
            [8 + 17 + 1, 5 + 1 + 1],
        ),
    ],
)
def test_bytes_per_client(payload: Payload, nbytes: list[int]) -> None:
    assert payload.nbytes() == nbytes


@pytest.mark.parametrize(("classes", "bits"), [(1, 1), (2, 1), (3, 2), (4, 2), (5, 3), (47, 6), (64, 6), (65, 7)])
def test_bits_of_a_class_id(classes: int, bits: int) -> None:
    assert label_bits(classes) == bits


@pytest.mark.parametrize("kind", EACH)
def test_taken_rows_follow_the_index(kind: str) -> None:
    payload = EACH[kind](3, 0.0)
    taken = payload.take(torch.tensor([2, 0, 2, 1]))
    assert type(taken) is type(payload)
    assert len(taken) == 4
    for mine, theirs in zip(taken.tensors(), payload.tensors(), strict=True):
        assert torch.equal(mine, torch.stack([theirs[2], theirs[0], theirs[2], theirs[1]]))


@pytest.mark.parametrize("kind", EACH)
def test_one_row_for_many_is_not_copied(kind: str) -> None:
    payload = EACH[kind](1, 0.0)
    taken = payload.take(torch.tensor([0, 0, 0]))
    assert taken.nbytes() == payload.nbytes() * 3  # each of the three receives it
    for mine, theirs in zip(taken.tensors(), payload.tensors(), strict=True):
        assert mine.shape == (3, *theirs.shape[1:])
        assert mine.data_ptr() == theirs.data_ptr()


@pytest.mark.parametrize("kind", EACH)
def test_joining_stacks_clients_in_order(kind: str) -> None:
    first, second = EACH[kind](2, 0.0), EACH[kind](1, 100.0)
    joined = Payload.join([first, second])
    assert len(joined) == 3
    assert same(joined.take(torch.tensor([0, 1])), first)
    assert same(joined.take(torch.tensor([2])), second)


@pytest.mark.parametrize("kind", EACH)
def test_a_detached_copy_shares_nothing(kind: str) -> None:
    payload = EACH[kind](2, 0.0)
    copy = payload.detached()
    before = [tensor.clone() for tensor in copy.tensors()]
    for tensor in payload.tensors():
        tensor.zero_()
    assert all(torch.equal(now, then) for now, then in zip(copy.tensors(), before, strict=True))
    live = Scores(torch.ones(1, 2, 2, requires_grad=True) * 2).detached()
    assert not live.values.requires_grad


def test_what_all_clients_share_survives_every_change() -> None:
    rows = torch.tensor([4, 1])
    scores = Scores(numbers(2, 2, 3), form="logits", rows=rows, coded_bytes=torch.tensor([9, 9]))
    for changed in (scores.take(torch.tensor([1])), scores.detached(), Payload.join([scores, scores])):
        assert isinstance(changed, Scores)
        assert changed.form == "logits"
        assert changed.nbytes() == [9] * len(changed)
        assert changed.rows is not None
        assert changed.rows.tolist() == [4, 1]
    labels = Labels(numbers(2, 2).long(), classes=5, rows=rows).take(torch.tensor([0]))
    assert isinstance(labels, Labels)
    assert labels.classes == 5


def test_changes_stay_changes() -> None:
    changes = Parameters({"w": numbers(2, 3)}, relative=True)
    assert not Parameters({"w": numbers(2, 3)}).relative
    for same_kind in (
        changes.take(torch.tensor([1])),
        changes.detached(),
        Payload.join([changes, changes]),
        Payload.from_bytes(changes.to_bytes()),
    ):
        assert isinstance(same_kind, Parameters)
        assert same_kind.relative


def test_coded_lengths_go_with_their_client() -> None:
    for payload in (
        Scores(numbers(3, 2, 3), coded_bytes=torch.tensor([7, 8, 9])),
        Parameters({"w": numbers(3, 2)}, coded_bytes=torch.tensor([7, 8, 9])),
    ):
        assert payload.take(torch.tensor([2, 0])).nbytes() == [9, 7]
        assert Payload.join([payload, payload.take(torch.tensor([1]))]).nbytes() == [7, 8, 9, 8]
        assert payload.detached().nbytes() == [7, 8, 9]


def test_parts_of_a_bundle_have_the_same_clients() -> None:
    two, one = Scalars({"loss": numbers(2)}), Scalars({"loss": numbers(1)})
    with pytest.raises(ValueError, match=r"same clients, got rows \{'a': 2, 'b': 1\}"):
        Bundle({"a": two, "b": one})
    with pytest.raises(ValueError, match=r"same clients, got rows \{\}"):
        Bundle({})
    assert len(Bundle({"a": two, "b": two})) == 2


def test_join_goes_by_name_not_by_position() -> None:
    one = Parameters({"a": torch.tensor([1.0]), "b": torch.tensor([2.0])})
    other = Parameters({"b": torch.tensor([4.0]), "a": torch.tensor([3.0])})
    assert Payload.join([one, other]).tree["a"].tolist() == [1.0, 3.0]
    assert Payload.join([Scalars(one.tree), Scalars(other.tree)]).values["b"].tolist() == [2.0, 4.0]
    bundles = [Bundle({"a": one, "b": other}), Bundle({"b": one, "a": other})]
    joined = Payload.join(bundles)
    assert isinstance(joined, Bundle)
    assert joined.parts["a"].tensors()[0].tolist() == [1.0, 3.0]
    assert joined.parts["b"].tensors()[0].tolist() == [3.0, 1.0]


MESSAGES = [
    Scores(numbers(2, 5, 3), form="logits", rows=torch.tensor([4, 1, 0, 2, 3]), sizes=torch.tensor([5.0, 7.0])),
    Labels(numbers(2, 5).long(), classes=47),
    Parameters({"w": numbers(2, 3, 4), "count": numbers(2).long()}, coded_bytes=torch.tensor([3, 4])),
    Prototypes(numbers(2, 3, 4), torch.tensor([[True, False, True], [False] * 3])),
    Bundle({"loss": Scalars({"loss": numbers(2)}), "inner": Bundle({"w": Parameters({"w": numbers(2, 3)})})}),
]


@pytest.mark.parametrize("payload", MESSAGES, ids=lambda payload: type(payload).__name__)
def test_a_message_goes_through_bytes_as_it_is(payload: Payload) -> None:
    read = Payload.from_bytes(payload.to_bytes())
    assert type(read) is type(payload)
    assert read.nbytes() == payload.nbytes()
    for mine, theirs in zip(payload.tensors(), read.tensors(), strict=True):
        assert torch.equal(mine, theirs)
        assert mine.dtype == theirs.dtype
    if isinstance(payload, Scores):
        assert read.form == payload.form
        assert torch.equal(read.rows, payload.rows)


class Evil:
    def __reduce__(self) -> tuple:
        return (exec, ("raise SystemExit('code from a message ran')",))


@pytest.mark.parametrize("damage", [b"", b"no message", pickle.dumps(Evil())])
def test_bytes_that_are_no_message_are_refused_and_run_nothing(damage: bytes) -> None:
    with pytest.raises(ValueError, match="are no message"):
        Payload.from_bytes(damage)


def test_a_message_of_an_unknown_kind_is_refused() -> None:
    buffer = io.BytesIO()
    torch.save({"kind": "Evil"}, buffer)
    with pytest.raises(ValueError, match="are no message"):
        Payload.from_bytes(buffer.getvalue())
