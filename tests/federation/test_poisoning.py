"""What poisoned clients send: by hand, row by row, with type, shape and bytes as they were."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor

from fl_bench.errors import Unsupported
from fl_bench.federation.faults import Faults, Poison
from fl_bench.federation.payloads import Bundle, Labels, Parameters, Payload, Prototypes, Scalars, Scores
from fl_bench.federation.poisoning import poisoned
from fl_bench.methods.contract import TRAINING, deal, finish, made_up_data, make_run
from fl_bench.streams import numpy_stream

if TYPE_CHECKING:
    from fl_bench.federation.cohort import Cohort


def spoil(
    sent: Payload, received: Payload | None, kind: Any, factor: float = 10.0, rows: tuple[int, ...] = (1,)
) -> Any:
    """The message with some rows poisoned; `stats` is a buffer of a net's part `shared`."""
    members = {row: numpy_stream(0, "test", row) for row in rows}
    return poisoned(sent, received, members, Poison(kind, 0.5, factor), ["shared.stats"], "a method")


def weights(*rows: float) -> dict[str, Tensor]:
    return {"w": torch.tensor(rows)[:, None]}


def test_weights_go_the_other_way_or_too_far_from_what_was_received() -> None:
    # received 1 and 2, sent 3 and 5: the second learned +3, and says 2 - 3 = -1, or 2 + 4 * 3 = 14
    sent, received = Parameters(weights(3.0, 5.0), sizes=torch.tensor([7.0, 8.0])), Parameters(weights(1.0, 2.0))
    flipped = spoil(sent, received, "sign-flip")
    assert flipped.tree["w"].flatten().tolist() == [3.0, -1.0]
    assert flipped.sizes.tolist() == [7.0, 8.0]
    assert flipped.nbytes() == sent.nbytes()
    assert spoil(sent, received, "scale", 4.0).tree["w"].flatten().tolist() == [3.0, 14.0]
    assert sent.tree["w"].flatten().tolist() == [3.0, 5.0]  # the client's own stay


def test_changes_are_multiplied_as_they_are() -> None:
    sent = Parameters(weights(3.0, -5.0), relative=True)
    for received in (None, Parameters(weights(1.0, 2.0))):
        assert spoil(sent, received, "sign-flip").tree["w"].flatten().tolist() == [3.0, 5.0]
        assert spoil(sent, received, "scale", 2.0).tree["w"].flatten().tolist() == [3.0, -10.0]


def test_before_the_first_message_weights_are_sent_as_they_are() -> None:
    sent = Parameters(weights(3.0, 5.0))
    assert spoil(sent, None, "scale") is sent


def test_buffers_and_integers_stay() -> None:
    tree = {**weights(3.0, 5.0), "stats": torch.tensor([[1.0], [2.0]]), "count": torch.tensor([[4], [6]])}
    received = Parameters({name: torch.zeros_like(tensor) for name, tensor in tree.items()})
    found = spoil(Parameters(tree), received, "sign-flip").tree
    assert found["w"].flatten().tolist() == [3.0, -5.0]
    assert torch.equal(found["stats"], tree["stats"])
    assert torch.equal(found["count"], tree["count"])


def test_parts_of_bundles_meet_the_part_of_their_name() -> None:
    sent = Bundle({"a": Parameters(weights(3.0, 5.0)), "n": Scalars({"x": torch.tensor([1.0, 2.0])})})
    received = Bundle({"a": Parameters(weights(1.0, 2.0)), "b": Parameters(weights(9.0, 9.0))})
    found = spoil(sent, received, "sign-flip")
    assert found.parts["a"].tree["w"].flatten().tolist() == [3.0, -1.0]
    assert found.parts["n"].values["x"].tolist() == [1.0, 2.0]
    alone = spoil(Parameters(weights(3.0, 5.0)), received, "sign-flip")  # the first of its name
    assert alone.tree["w"].flatten().tolist() == [3.0, -1.0]


def test_class_means_are_multiplied() -> None:
    sent = Prototypes(torch.tensor([[[1.0, -2.0]], [[3.0, -4.0]]]), torch.tensor([[True], [True]]))
    assert spoil(sent, None, "scale", 3.0).values.flatten().tolist() == [1.0, -2.0, 9.0, -12.0]
    assert torch.equal(spoil(sent, None, "sign-flip").present, sent.present)


@pytest.mark.parametrize("form", ["probabilities", "logits"])
def test_random_scores_are_drawn_evenly_from_all_there_are(form: Any) -> None:
    values = torch.full((2, 4000, 3), 1 / 3, dtype=torch.float64)
    found = spoil(Scores(values, form=form, rows=torch.arange(4000)), None, "random-scores")
    assert torch.equal(found.values[0], values[0])
    drawn = found.values[1].exp() if form == "logits" else found.values[1]
    assert torch.allclose(drawn.sum(dim=1), torch.ones(4000, dtype=torch.float64))
    # even on the simplex of three: each entry has mean 1/3 and P(p < x) = 1 - (1 - x)^2, so 0.75 at one half
    assert drawn.mean(dim=0).tolist() == pytest.approx([1 / 3] * 3, abs=0.015)
    assert float((drawn[:, 0] < 0.5).double().mean()) == pytest.approx(0.75, abs=0.03)
    again = spoil(Scores(values, form=form), None, "random-scores")
    assert torch.equal(found.values, again.values)
    other = spoil(Scores(values, form=form), None, "random-scores", rows=(0, 1))
    assert not torch.equal(other.values[0], other.values[1])


def test_random_labels_are_any_symbol() -> None:
    found = spoil(Labels(torch.zeros(2, 3000, dtype=torch.int64), classes=3), None, "random-scores")
    assert not found.values[0].any()
    assert torch.bincount(found.values[1]).tolist() == pytest.approx([1000] * 3, abs=120)


def test_what_a_method_codes_itself_or_never_received_is_refused() -> None:
    coded = Parameters(weights(3.0, 5.0), torch.tensor([1, 1]), relative=True)
    with pytest.raises(Unsupported, match="a method codes its own messages"):
        spoil(coded, None, "sign-flip")
    with pytest.raises(Unsupported, match="a method codes its own messages"):
        spoil(Scores(torch.ones(2, 3, 4), coded_bytes=torch.tensor([1, 1])), None, "random-scores")
    with pytest.raises(Unsupported, match=r"sends weights \(w\) that clients do not receive"):
        spoil(Parameters(weights(3.0, 5.0)), Parameters({"v": torch.ones(2, 1)}), "scale")


@pytest.mark.parametrize(("name", "kind"), [("fedavg", "sign-flip"), ("scaffold", "scale"), ("fedproto", "scale")])
def test_the_server_gets_the_spoilt_message_and_the_client_keeps_its_own(name: str, kind: Any) -> None:
    runs = [
        make_run(name, made_up_data(), deal(made_up_data()), TRAINING, faults=Faults(poison=Poison(kind, share)))
        for share in (0.0, 0.3)
    ]
    arrived: list[list[Any]] = [[], []]
    kept: list[list[Any]] = [[], []]
    for run, seen, own in zip(runs, arrived, kept, strict=True):
        server, client = run.method.server_update, run.method.client_update

        def at_server(uploads: Any, rnd: Any, server: Any = server, seen: list[Any] = seen) -> Any:
            seen.append(uploads._groups[0][2])
            return server(uploads, rnd)

        def at_client(clients: Cohort, message: Any, rnd: Any, client: Any = client, own: list[Any] = own) -> Any:
            sent = client(clients, message, rnd)
            own.append((message, sent.detached(), clients.weights))
            return sent

        run.method.server_update, run.method.client_update = at_server, at_client  # type: ignore[method-assign]
        finish(run, rounds=2)
    bad = runs[1].facts()["faults"]["poisoned"]
    for index in range(2):
        message, sent, _ = kept[1][index]
        streams = {client: numpy_stream(0, "any") for client in bad}
        expected = poisoned(sent, message, streams, Poison(kind, 0.3), [], name)
        assert all(torch.equal(*pair) for pair in zip(arrived[1][index].tensors(), expected.tensors(), strict=True))
    first = [own[0][2] for own in kept]
    assert all(torch.equal(first[0][key], first[1][key]) for key in first[0])  # before anybody heard of it


def test_bytes_do_not_tell() -> None:
    rows = [
        finish(
            make_run(
                "fedmd", made_up_data(), deal(made_up_data()), faults=Faults(poison=Poison("random-scores", share))
            )
        ).rows
        for share in (0.0, 0.5)
    ]
    for one, other in zip(*rows, strict=True):
        assert [one[name] for name in ("bytes_up", "bytes_down")] == [
            other[name] for name in ("bytes_up", "bytes_down")
        ]
