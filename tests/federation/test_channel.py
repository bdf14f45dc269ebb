"""The wire: refusals, copies, the byte ledger, and who gets which message when."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import torch

from fl_bench.errors import ConfigError
from fl_bench.federation import checkpoint
from fl_bench.federation.channel import Channel, Downloads, Parcel, Uploads
from fl_bench.federation.codecs import Codec
from fl_bench.federation.payloads import Bundle, Labels, Parameters, Payload, Prototypes, Scalars, Scores

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from torch import Tensor

EVERY_KIND = (Scores, Labels, Parameters, Prototypes, Scalars)


def channel(clients: int = 4, *declared: type[Payload], codec: str = "none") -> Channel:
    return Channel(clients, declared or EVERY_KIND, Codec.parse(codec), "mymethod")


def scalars(*values: float) -> Scalars:
    return Scalars({"loss": torch.tensor(values)})


def read(payload: Payload | None) -> list[Any]:
    assert payload is not None
    return payload.tensors()[0].tolist()


def uploads(*groups: tuple[str, Sequence[int], Payload], clients: int = 4) -> Uploads:
    return Uploads(list(groups), owners=["a"] * clients, dtype=torch.float64)


def sized(ids: Sequence[int], payload: Payload) -> Payload:
    """The same message with sizes 10, 20, 30, 40 of clients 0, 1, 2, 3."""
    return replace(payload, sizes=torch.tensor([10.0 * (client + 1) for client in ids]))


def test_an_undeclared_payload_is_refused_both_ways() -> None:
    wire = channel(4, Scores)
    weights = Parameters({"w": torch.ones(1, 3)})
    says = "mymethod put Parameters on the wire, but declares that it exchanges Scores"
    with pytest.raises(ConfigError, match=says):
        wire.up([0], weights)
    with pytest.raises(ConfigError, match=says):
        wire.post(Downloads((Parcel(weights, {0: 0}),)))
    with pytest.raises(ConfigError, match="exchanges nothing"):
        Channel(4, (), Codec(), "silent").up([0], weights)
    assert wire.traffic.up.sum() == wire.traffic.down.sum() == 0


def test_a_declared_kind_does_not_let_its_subclass_through() -> None:
    class Smuggled(Scores):
        """Scores with a passenger would be counted as scores alone."""

    with pytest.raises(ConfigError, match="put Smuggled on the wire"):
        channel(4, Scores).up([0], Smuggled(torch.ones(1, 2, 2)))


@pytest.mark.parametrize(("rows", "wrong"), [(1, 1), (3, 3), (3, -1)])
def test_only_rows_of_the_message_have_an_address(rows: int, wrong: int) -> None:
    # A message of one row is expanded to whoever reads it, so that its delivery would not notice a wrong row.
    wire = channel()
    with pytest.raises(ValueError, match=f"mymethod addressed row {wrong} of a message of {rows} rows"):
        wire.post(Downloads((Parcel(scalars(*range(rows)), {2: 0, 1: wrong}),)))
    assert wire.deliver([1, 2]) == [((1, 2), None)]


def test_every_client_sends_a_row() -> None:
    with pytest.raises(ValueError, match="sent 2 rows for 3 clients"):
        channel().up([0, 1, 2], scalars(1.0, 2.0))


@pytest.mark.parametrize("codec", ["none", "float16"])
@pytest.mark.parametrize("make", [Scores, lambda values: Parameters({"w": values})], ids=["Scores", "Parameters"])
def test_what_arrives_shares_nothing_with_the_sender(make: Callable[[Tensor], Payload], codec: str) -> None:
    wire = channel(codec=codec)
    sent = torch.full((2, 3, 2), 0.5, requires_grad=True)
    arrived = wire.up([0, 1], make(sent * 1.0))
    assert not arrived.tensors()[0].requires_grad
    own = torch.full((2, 3, 2), 0.5)
    arrived = wire.up([0, 1], make(own))
    wire.post(uploads().to_each(make(own), [0, 1, 0, 1]))
    own.zero_()
    assert arrived.tensors()[0].eq(0.5).all()
    ((_, received),) = wire.deliver([0, 1, 2, 3])
    assert received is not None
    assert received.tensors()[0].eq(0.5).all()


@pytest.mark.parametrize("for_all", [True, False])
def test_one_clients_copy_is_not_anothers(for_all: bool) -> None:
    wire = channel()
    wire.post(uploads().to_all(scalars(1.0)) if for_all else uploads().to_each(scalars(1.0, 2.0), [0, 0, 0, 1]))
    ((_, first),) = wire.deliver([0])
    assert first is not None
    first.tensors()[0].zero_()
    assert read(wire.deliver([1])[0][1]) == [1.0]


def test_bytes_are_counted_per_client_direction_and_kind() -> None:
    wire = channel()
    # Two clients send 3 * 2 float32 numbers each, one of them two more scalars; three receive one of 5 labels,
    # which at 3 bits are 2 bytes.
    wire.up([0, 2], Scores(torch.ones(2, 3, 2)))
    wire.up([2], Scalars({"a": torch.ones(1), "b": torch.ones(1)}))
    wire.post(uploads().to_all(Labels(torch.zeros(1, 5, dtype=torch.int64), classes=8)))
    wire.deliver([0, 1, 3])
    assert wire.traffic.up.tolist() == [24, 0, 32, 0]
    assert wire.traffic.down.tolist() == [2, 2, 0, 2]
    assert dict(wire.traffic.kinds) == {"up Scores": 48, "up Scalars": 8, "down Labels": 6}
    wire.open_round()
    assert wire.traffic.up.tolist() == wire.traffic.down.tolist() == [0, 0, 0, 0]
    assert not wire.traffic.kinds


def test_prototypes_weigh_what_each_client_holds() -> None:
    wire = channel()
    # Client 1 holds one class and client 3 two, of 3 features in float32; a byte says which of the two classes.
    present = torch.tensor([[True, False], [True, True]])
    wire.up([1, 3], Prototypes(torch.ones(2, 2, 3), present))
    assert wire.traffic.up.tolist() == [0, 13, 0, 25]


def test_scores_are_coded_in_both_directions_and_other_kinds_are_not() -> None:
    wire = channel(codec="hard")
    p = torch.tensor([[[0.6, 0.4], [0.2, 0.8]]])
    assert read(wire.up([0], Scores(p))) == [[[1.0, 0.0], [0.0, 1.0]]]
    assert read(wire.up([1], scalars(0.6))) == pytest.approx([0.6])
    wire.post(uploads().to_all(Scores(p)))
    ((_, received),) = wire.deliver([2])
    assert read(received) == [[[1.0, 0.0], [0.0, 1.0]]]
    # Two labels of a binary problem are one byte; a float is four.
    assert wire.traffic.up.tolist() == [1, 4, 0, 0]
    assert wire.traffic.down.tolist() == [0, 0, 1, 0]


def test_messages_are_charged_when_they_are_delivered() -> None:
    wire = channel()
    wire.post(uploads().to_all(scalars(1.0)))
    assert wire.traffic.down.tolist() == [0, 0, 0, 0]
    wire.open_round()
    wire.deliver([1])
    assert wire.traffic.down.tolist() == [0, 4, 0, 0]


def test_clients_that_need_a_part_of_what_all_get_are_charged_for_it() -> None:
    wire, weights = channel(), Parameters({"a": torch.ones(1, 5)})  # 20 bytes
    wire.post(uploads().to_all(weights, nbytes={0: 8, 2: 8, 3: 0}))
    contents = [read(payload) for _, payload in wire.deliver([0, 1, 2, 3])]
    assert all(content == [1.0] * 5 for rows in contents for content in rows)
    assert wire.traffic.down.tolist() == [8, 20, 8, 0]
    with pytest.raises(TypeError, match=r"`nbytes` is for Parameters, .* not for Scalars"):
        uploads().to_all(scalars(1.0), nbytes={0: 8})


def test_before_any_message_there_is_nothing() -> None:
    wire = channel()
    wire.post(None)
    assert wire.deliver([0, 2]) == [((0, 2), None)]
    assert wire.deliver([]) == []
    assert wire.traffic.down.sum() == 0


def test_the_latest_message_waits_for_those_who_are_away() -> None:
    # Everyone is sent 1; then clients 0 and 2 are sent 5 and 6. Client 1 still gets 1, client 3 was never written to.
    wire = channel()
    wire.post(Downloads((Parcel(scalars(1.0), {0: 0, 1: 0, 2: 0}),)))
    wire.open_round()
    wire.post(Downloads((Parcel(scalars(5.0, 6.0), {2: 1, 0: 0}),)))
    delivered = wire.deliver([0, 1, 2, 3])
    assert [ids for ids, _ in delivered] == [(0, 2), (1,), (3,)]
    assert read(delivered[0][1]) == [5.0, 6.0]
    assert read(delivered[1][1]) == [1.0]
    assert delivered[2][1] is None


def test_a_message_is_delivered_and_charged_once() -> None:
    wire = channel()
    wire.post(uploads().to_all(scalars(1.0)))
    wire.deliver([1, 2])
    wire.open_round()
    ((late, received), (again, nothing)) = wire.deliver([0, 1, 2])
    assert (late, again) == ((0,), (1, 2))
    assert read(received) == [1.0]
    assert nothing is None
    assert wire.traffic.down.tolist() == [4, 0, 0, 0]


def test_rows_are_addressed_by_client() -> None:
    wire = channel()
    wire.post(uploads().to_each(scalars(10.0, 11.0, 12.0, 13.0)))
    assert read(wire.deliver([1, 3])[0][1]) == [11.0, 13.0]
    wire.post(uploads().to_each(scalars(10.0, 11.0), [1, 1, 0, 1]))
    assert read(wire.deliver([0, 2, 3])[0][1]) == [11.0, 10.0, 11.0]


@pytest.mark.parametrize(
    "payload",
    [
        Scores(torch.rand(2, 3, 2), form="logits", rows=torch.tensor([4, 0, 2])),
        Scores(torch.rand(2, 3, 2), coded_bytes=torch.tensor([5, 5])),
        Labels(torch.tensor([[1, 2], [0, 4]]), classes=5, rows=torch.tensor([7, 9])),
        Parameters({"w": torch.rand(2, 3), "count": torch.tensor([3, 4])}),
        Prototypes(torch.rand(2, 2, 3), torch.tensor([[True, False], [True, True]])),
        Scalars({"loss": torch.rand(2)}),
        Scores(torch.rand(2, 4, 3, 2), rows=torch.tensor([4, 0, 2])),
        Parameters({"w": torch.rand(2, 3)}, coded_bytes=torch.tensor([5, 6])),
        Bundle(
            {
                "weights": Parameters({"w": torch.rand(2, 3)}, coded_bytes=torch.tensor([5, 6])),
                "inner": Bundle({"cluster": Labels(torch.tensor([[1], [3]]), classes=4)}),
            }
        ),
    ],
    ids=lambda payload: type(payload).__name__,
)
def test_waiting_messages_survive_a_checkpoint(payload: Payload, tmp_path: Path) -> None:
    wire = channel()
    wire.post(Downloads((Parcel(scalars(1.0), {3: 0}),)))
    wire.post(Downloads((Parcel(payload, {0: 1, 2: 0}),)))
    checkpoint.save(tmp_path / "c.pt", {"channel": wire.state_dict()})
    state = checkpoint.load(tmp_path / "c.pt", torch.device("cpu"))
    assert state is not None
    other = channel()
    other.load_state_dict(state["channel"])
    for (ids, mine), (their_ids, theirs) in zip(wire.deliver([0, 1, 2, 3]), other.deliver([0, 1, 2, 3]), strict=True):
        assert ids == their_ids
        assert type(mine) is type(theirs)
        if mine is not None and theirs is not None:
            assert all(torch.equal(a, b) for a, b in zip(mine.tensors(), theirs.tensors(), strict=True))
            assert mine.nbytes() == theirs.nbytes()
            if isinstance(mine, Scores | Labels) and mine.rows is not None:
                assert isinstance(theirs, Scores | Labels)
                assert theirs.rows is not None
                assert torch.equal(mine.rows, theirs.rows)
    # What is posted next are messages of their own, not the restored ones: nobody shares client 2's any longer.
    third = channel()
    third.load_state_dict(state["channel"])
    for client in (1, 0):
        third.post(Downloads((Parcel(scalars(float(client)), {client: 0}),)))
    assert [ids for ids, _ in third.deliver([0, 1, 2, 3])] == [(0,), (1,), (2,), (3,)]


def test_uploads_come_in_client_order_across_architectures_and_groups() -> None:
    # Architecture a: clients 3 and 0 in two groups (they received different messages); b: clients 1 and 2.
    received = uploads(
        ("a", [3], sized([3], Scores(torch.full((1, 2, 2), 3.0)))),
        ("a", [0], sized([0], Scores(torch.full((1, 2, 2), 0.0)))),
        ("b", [1, 2], sized([1, 2], Scores(torch.arange(1.0, 3.0)[:, None, None].expand(2, 2, 2)))),
    )
    assert received.ids == (0, 1, 2, 3)
    assert received.scores()[:, 0, 0].tolist() == [0.0, 1.0, 2.0, 3.0]
    assert received.sizes().tolist() == [10.0, 20.0, 30.0, 40.0]
    assert received.sizes("a").tolist() == [10.0, 40.0]
    assert received.architectures == ("a", "b")


def test_weights_come_per_architecture() -> None:
    def weights(*values: float) -> Parameters:
        return Parameters({"w": torch.tensor(values)[:, None]})

    received = uploads(
        ("a", [2, 3], sized([2, 3], weights(2.0, 3.0))), ("a", [0], sized([0], weights(0.0))), ("b", [1], weights(1.0))
    )
    assert received.parameters("a")["w"].flatten().tolist() == [0.0, 2.0, 3.0]
    assert received.sizes("a").tolist() == [10.0, 30.0, 40.0]
    assert received.parameters("b")["w"].flatten().tolist() == [1.0]


def test_the_same_weights_of_all_architectures_join_in_client_order() -> None:
    def head(value: float, name: str = "head") -> Parameters:
        return Parameters({name: torch.tensor([[value]])})

    received = uploads(("a", [2], head(2.0)), ("b", [1], head(1.0)), ("a", [0], head(0.0)))
    assert received.parameters()["head"].flatten().tolist() == [0.0, 1.0, 2.0]
    assert received.parameters("a")["head"].flatten().tolist() == [0.0, 2.0]
    with pytest.raises(TypeError, match="different names: name an architecture"):
        uploads(("a", [0], head(0.0)), ("b", [1], head(1.0, "neck"))).parameters()


def test_participants_get_a_row_each_or_the_one_that_is_named() -> None:
    received = uploads(("a", [1, 3], scalars(0.0, 0.0)))
    (parcel,) = received.to_participants(scalars(5.0, 6.0)).parcels
    assert parcel.address == {1: 0, 3: 1}
    (parcel,) = received.to_participants(scalars(5.0, 6.0, 7.0), index=[2, 0]).parcels
    assert parcel.address == {1: 2, 3: 0}


def test_labels_and_their_rows() -> None:
    rows = torch.tensor([8, 3])
    received = uploads(
        ("a", [1], Labels(torch.tensor([[4, 4]]), classes=5, rows=rows)),
        ("b", [0], Labels(torch.tensor([[2, 3]]), classes=5, rows=rows)),
    )
    assert received.labels().tolist() == [[2, 3], [4, 4]]
    found = received.rows()
    assert found is not None
    assert found.tolist() == [8, 3]
    assert uploads(("a", [0], scalars(1.0))).rows() is None


def test_the_wrong_kind_is_named() -> None:
    received = uploads(("a", [0], scalars(1.0)))
    with pytest.raises(TypeError, match="sent Scalars, not Scores"):
        received.scores()
    with pytest.raises(TypeError, match="sent Scalars, not Labels"):
        received.labels()
    with pytest.raises(TypeError, match="sent Scalars, not Parameters"):
        received.parameters()


def bundle(*values: float) -> Bundle:
    """Two weights and a cluster of four for each client."""
    column = torch.tensor(values)[:, None]
    return Bundle({"weights": Parameters({"w": column.repeat(1, 2)}), "cluster": Labels(column.long(), classes=4)})


def test_every_part_of_a_bundle_must_be_declared() -> None:
    wire = channel(4, Parameters)
    with pytest.raises(ConfigError, match="mymethod put Labels on the wire, but declares that it exchanges Parameters"):
        wire.up([0, 1], bundle(0.0, 1.0))
    inner = Bundle({"inner": bundle(0.0)})
    with pytest.raises(ConfigError, match="put Labels on the wire"):
        wire.post(Downloads((Parcel(inner, {0: 0}),)))
    assert wire.traffic.up.sum() == 0
    # The bundle itself needs no declaration: it is an envelope.
    channel(4, Parameters, Labels).up([0, 1], bundle(0.0, 1.0))


def test_every_part_of_a_bundle_is_counted_by_its_kind() -> None:
    wire = channel()
    arrived = wire.up([1, 3], Bundle({"deep": bundle(2.0, 3.0), "loss": scalars(1.0, 1.0)}))
    # 2 * 4 bytes of weights, 2 bits of a label, a float of 4 bytes.
    assert wire.traffic.up.tolist() == [0, 13, 0, 13]
    assert dict(wire.traffic.kinds) == {"up Parameters": 16, "up Labels": 2, "up Scalars": 8}
    assert arrived.nbytes() == [13, 13]


@pytest.mark.parametrize("codec", ["hard", "float16"])
def test_scores_in_a_bundle_are_coded(codec: str) -> None:
    wire = channel(codec=codec)
    scores = Scores(torch.tensor([[[0.7, 0.3], [0.2, 0.8]]]))
    arrived = wire.up([2], Bundle({"scores": scores, "loss": scalars(0.7)}))
    assert isinstance(arrived, Bundle)
    expected = torch.tensor([[1.0, 0.0], [0.0, 1.0]]) if codec == "hard" else scores.values.half().float()[0]
    assert torch.equal(arrived.parts["scores"].tensors()[0][0], expected)
    assert read(arrived.parts["loss"]) == pytest.approx([0.7], abs=1e-7)
    # Two labels of two classes are a byte; four numbers of two bytes are eight; and the float.
    assert wire.traffic.up.tolist() == [0, 0, {"hard": 1, "float16": 8}[codec] + 4, 0]


@pytest.mark.parametrize(("codec", "nbytes"), [("none", 3 * 2 * 2 * 4), ("float16", 3 * 2 * 2 * 2), ("hard", 3 * 1)])
def test_several_matrices_for_a_client_are_coded_one_by_one(codec: str, nbytes: int) -> None:
    # Three matrices of two samples and two classes; with `hard` each is two bits, a byte of its own.
    wire = channel(codec=codec)
    values = torch.rand(1, 3, 2, 2).softmax(dim=-1)
    wire.post(uploads().to_all(Scores(values)))
    ((_, received),) = wire.deliver([0, 1])
    assert received is not None
    assert wire.traffic.down.tolist() == [nbytes, nbytes, 0, 0]
    assert received.tensors()[0].shape == (2, 3, 2, 2)
    for matrix in range(3):
        alone = Codec.parse(codec).code(Scores(values[:, matrix])).values
        assert torch.equal(received.tensors()[0][1, matrix], alone[0])


def test_messages_of_the_wrong_number_of_rows_name_the_right_call() -> None:
    received = uploads(("a", [0, 2], scalars(1.0, 2.0)))
    with pytest.raises(ValueError, match="sends one row to every client, but this message has 2; use `to_p"):
        received.to_all(scalars(1.0, 2.0))
    with pytest.raises(
        ValueError, match="row for each of the federation's 4 clients, but this message has 2; `to_parti"
    ):
        received.to_each(scalars(1.0, 2.0))
    with pytest.raises(ValueError, match="row for each of 2 participants, but this message has 4; `to_each`"):
        received.to_participants(scalars(1.0, 2.0, 3.0, 4.0))


def test_what_is_no_message_and_no_upload_is_said_in_words() -> None:
    with pytest.raises(TypeError, match="mymethod put a Tensor on the wire; wrap it in a payload"):
        channel().up([0], torch.ones(1))
    with pytest.raises(TypeError, match="nobody sent anything in this turn"):
        uploads().scores()


def test_sizes_are_sent_charged_and_read() -> None:
    # A float32 number for each of two clients, in a message, in a bundle or in one of its parts; nothing without.
    alone = Scores(torch.ones(2, 3, 2), sizes=torch.tensor([5.0, 7.0]))
    wire = channel()
    for payload in (
        alone,
        Bundle({"scores": replace(alone, sizes=None)}, sizes=alone.sizes),
        Bundle({"scores": alone}),
    ):
        wire.open_round()
        sent = wire.up([3, 0], payload)
        assert wire.traffic.up.tolist() == [28, 0, 0, 28]
        assert dict(wire.traffic.kinds) == {"up Scores": 48, "up Sizes": 8}
        received = uploads(("a", [3, 0], sent))
        received = received.part("scores") if isinstance(payload, Bundle) else received
        assert received.sizes().tolist() == [7.0, 5.0]
        assert received.ones().tolist() == [1.0, 1.0]
    silent = uploads(("a", [0, 1], scalars(1.0, 2.0)))
    with pytest.raises(TypeError, match="add `sizes="):
        silent.sizes()
    assert silent.ones().dtype == torch.float64


def test_weights_are_charged_at_their_coded_length() -> None:
    wire = channel()
    wire.up([3, 0], Parameters({"w": torch.ones(2, 5)}, coded_bytes=torch.tensor([7, 2])))
    assert wire.traffic.up.tolist() == [2, 0, 0, 7]
    wire.post(uploads().to_each(Parameters({"w": torch.ones(2, 5)}, coded_bytes=torch.tensor([7, 2])), [0, 1, 1, 0]))
    wire.deliver([0, 1, 2, 3])
    assert wire.traffic.down.tolist() == [7, 2, 2, 7]


def test_parts_of_bundles_are_read_like_plain_uploads() -> None:
    received = uploads(*((name, [i], sized([i], bundle(float(i)))) for name, i in (("a", 3), ("b", 1), ("a", 0))))
    weights, clusters = received.part("weights"), received.part("cluster")
    assert weights.ids == clusters.ids == received.ids == (0, 1, 3)
    assert weights.parameters("a")["w"].tolist() == [[0.0, 0.0], [3.0, 3.0]]
    assert weights.parameters()["w"][:, 0].tolist() == [0.0, 1.0, 3.0]
    assert weights.sizes().tolist() == [10.0, 20.0, 40.0]
    assert clusters.labels().tolist() == [[0], [1], [3]]
    assert clusters.to_all(scalars(1.0)).parcels[0].address == dict.fromkeys(range(4), 0)
    with pytest.raises(KeyError, match="momentum"):
        received.part("momentum")
    with pytest.raises(TypeError, match="clients sent Labels, not a Bundle"):
        clusters.part("cluster")
    with pytest.raises(TypeError, match="sent Bundle, not Parameters"):
        received.parameters("a")


def test_numbers_and_prototypes_come_in_client_order() -> None:
    def means(value: float) -> Prototypes:
        return Prototypes(torch.full((1, 2, 3), value), torch.tensor([[True, value > 1]]))

    joined = uploads(("a", [2], means(2.0)), ("b", [0], means(0.0))).prototypes()
    assert joined.values[:, 0, 0].tolist() == [0.0, 2.0]
    assert joined.present.tolist() == [[True, False], [True, True]]
    both = Scalars({"loss": torch.tensor([3.0, 1.0]), "size": torch.tensor([30.0, 10.0])})
    received = uploads(("a", [3, 1], both))
    assert received.scalars("size").tolist() == [10.0, 30.0]
    with pytest.raises(KeyError, match="norm"):
        received.scalars("norm")
    with pytest.raises(TypeError, match="sent Scalars, not Prototypes"):
        received.prototypes()
    with pytest.raises(TypeError, match="sent Prototypes, not Scalars"):
        uploads(("a", [2], means(2.0))).scalars("loss")


def test_participants_of_an_architecture() -> None:
    received = uploads(("a", [3], scalars(3.0)), ("b", [1, 2], scalars(1.0, 2.0)), ("a", [0], scalars(0.0)))
    assert received.ids_of("a") == (0, 3)
    assert received.ids_of("b") == (1, 2)
    assert received.architectures == ("a", "b")


def test_only_participants_are_written_to() -> None:
    wire = channel()
    wire.post(uploads(("a", [3, 1], scalars(0.0, 0.0))).to_participants(scalars(10.0, 30.0)))
    (((ids, received), (others, nothing))) = wire.deliver([1, 3, 0])
    assert (ids, read(received)) == ((1, 3), [10.0, 30.0])
    assert (others, nothing) == ((0,), None)
    with pytest.raises(ValueError, match="shorter"):
        uploads(("a", [3, 1], scalars(0.0, 0.0))).to_participants(scalars(1.0), index=[0])


def test_an_architecture_is_written_to_as_a_whole() -> None:
    # Clients 0 and 3 have a, 1 and 2 have b; client 3 did not take part and still gets a's row.
    received = Uploads(
        [("a", [0], scalars(0.0)), ("b", [1, 2], scalars(1.0, 2.0))],
        owners=["a", "b", "b", "a"],
        dtype=torch.float64,
    )
    wire = channel()
    wire.post(received.to_architectures({"a": scalars(5.0)}))
    assert [(ids, payload and read(payload)) for ids, payload in wire.deliver([0, 1, 2, 3])] == [
        ((0, 3), [5.0, 5.0]),
        ((1, 2), None),
    ]
    wire.post(received.to_architectures({"b": scalars(6.0), "a": scalars(7.0)}))
    assert [(ids, read(payload)) for ids, payload in wire.deliver([0, 1, 2, 3])] == [
        ((0, 3), [7.0, 7.0]),
        ((1, 2), [6.0, 6.0]),
    ]


def test_scores_may_wait_in_half_precision_and_count_as_they_were_sent() -> None:
    wire = Channel(2, (Scores, Bundle, Scalars), Codec(), "mymethod", (torch.float32, torch.float16))
    values = torch.tensor([[[0.1, 0.9], [1 / 3, 2 / 3]]])
    payload = Bundle({"scores": Scores(values), "loss": Scalars({"loss": torch.tensor([1 / 3])})})
    wire.post(Downloads((Parcel(payload, {0: 0, 1: 0}),)))
    waiting = wire.state_dict()["letters"]
    assert isinstance(waiting, dict)
    assert waiting[1]["parts"]["scores"]["values"].dtype == torch.float16
    assert waiting[1]["parts"]["loss"]["values"]["loss"].dtype == torch.float32
    ((_, found),) = wire.deliver([0, 1])
    assert isinstance(found, Bundle)
    scores = found.parts["scores"]
    assert isinstance(scores, Scores)
    # 11 bits of mantissa: 1/3 becomes 1365/4096, 0.1 becomes 1638/16384. Four numbers of four bytes for each client.
    assert scores.values.dtype == torch.float32
    assert scores.values[1, 1, 0].item() == 1365 / 4096
    assert scores.values[0, 0, 0].item() == 1638 / 16384
    assert wire.traffic.kinds["down Scores"] == 2 * 4 * 4


def test_letters_of_a_checkpoint_keep_their_format(tmp_path: Path) -> None:
    formats = (torch.float32, torch.float16)
    before, after = (Channel(2, (Scores,), Codec(), "mymethod", formats) for _ in "ab")
    before.post(Downloads((Parcel(Scores(torch.rand(2, 3, 2)), {0: 0, 1: 1}),)))
    path = tmp_path / "state.pt"
    checkpoint.save(path, before.state_dict())
    state = checkpoint.load(path, torch.device("cpu"))
    assert state is not None
    after.load_state_dict(state)
    for client in (0, 1):
        ((_, expected),), ((_, found),) = before.deliver([client]), after.deliver([client])
        assert isinstance(expected, Scores)
        assert isinstance(found, Scores)
        assert torch.equal(found.values, expected.values)


def test_a_message_that_is_put_back_waits_unless_a_newer_one_does() -> None:
    wire = channel()
    wire.post(Downloads.to_all(4, scalars(1.0)))
    letters = wire.waiting([0, 1])
    assert letters.keys() == {0, 1}
    wire.deliver([0, 1, 2])
    wire.post(Downloads((Parcel(scalars(2.0), {1: 0}),)))
    wire.put_back(letters)
    found = {client: row and read(row)[0] for client in range(4) for _, row in wire.deliver([client])}
    assert found == {0: 1.0, 1: 2.0, 2: None, 3: 1.0}
    assert wire.traffic.down.tolist() == [8, 8, 4, 4]  # charged once more where it is delivered once more
    assert wire.waiting([0, 1, 2, 3]) == {}
