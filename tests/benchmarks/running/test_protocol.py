"""Orders and messages: what is sent arrives, and what nobody sent is refused with its name."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fl_bench.benchmarks.running.handshake import Mixture, Setup, data_of, mismatch, setup
from fl_bench.benchmarks.running.order import Order, Plugin, read_cell, read_order
from fl_bench.benchmarks.running.protocol import (
    MESSAGES,
    PART,
    Broken,
    Ended,
    Finished,
    Hello,
    Kept,
    Late,
    Message,
    Recorded,
    Refused,
    Skipped,
    Started,
    message_line,
    parts_of,
    read_message,
)
from fl_bench.benchmarks.running.runner import Options
from fl_bench.benchmarks.running.wire import PROTOCOL, ProtocolError, decoded, shown
from fl_bench.errors import ConfigError
from fl_bench.federation.settings import Execution

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from fl_bench.benchmarks.grid.cell import Cell

HERE = Setup(
    node="here",
    fl_bench="1",
    revision="abc",
    dirty=False,
    code="c",
    python="3.12.1",
    packages={"torch": "2.15.0", "pandas": None},
    instructions="AVX2",
    plugins={"mine.py": "0123456789abcdef"},
    data={"digits": "f"},
)

SAID: list[Message] = [
    Hello(HERE),
    Refused("n", ("torch is 1 here and 2 on n",)),
    Started("k", {"gpu": None, "cores": 2}),
    Finished(
        "k", 1, float("inf"), (2**36, 2), 2**37, {"views": []}, {"round": 1, "a": 0.1, "b": None}, ({"client": 0},)
    ),
    Kept("k", "0", 0, 0, 0, 1, "AAAA"),
    Recorded.of("k", {"run.json": "{}", "rounds.csv": "a\n"}),
    Ended("k"),
    Late("k"),
    Skipped("k", "process 1 is running it"),
    Broken("the disk is full", storage=True),
]


@pytest.fixture
def order(cell_of: Callable[..., Cell], tmp_path: Path) -> Order:
    (tmp_path / "mine.py").write_text("print('Grüße')\r\n", encoding="utf-8", newline="")
    options = Options("cuda:0", "data", (str(tmp_path / "mine.py"),), retry=True, execution=Execution(threads=2))
    checkpoints = {"k": ("AAAA", "BBBB")}
    return Order.of([cell_of("fedmd"), cell_of("local")], options, HERE, timeout=2.5, checkpoints=checkpoints)


def changed(line: bytes, **values: Any) -> bytes:
    return json.dumps({**json.loads(line), **values}).encode()


def test_an_order_arrives_as_it_was(order: Order, cell_of: Callable[..., Cell]) -> None:
    arrived = read_order(order.text())
    assert arrived == order
    assert order.text().count(b"\n") == 1
    assert [read_cell(parcel) for parcel in arrived.cells] == [cell_of("fedmd"), cell_of("local")]
    assert [read_cell(parcel).label for parcel in arrived.cells] == ["fedmd", "local"]
    assert arrived.options == Options("cuda:0", "data", (), retry=True, execution=Execution(threads=2))


def test_plugins_travel_byte_for_byte(order: Order, tmp_path: Path) -> None:
    (plugin,) = read_order(order.text()).plugins
    written = plugin.write(tmp_path / "elsewhere")
    assert (tmp_path / "elsewhere") in (tmp_path / written).parents
    assert (tmp_path / written).read_bytes() == (tmp_path / "mine.py").read_bytes()


@pytest.mark.parametrize("message", SAID, ids=lambda message: type(message).__name__)
def test_a_message_arrives_as_it_was(message: Message) -> None:
    line = message_line(message)
    assert read_message(line) == message
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1


def test_every_kind_of_message_is_tried() -> None:
    assert {type(message) for message in SAID} == set(MESSAGES.values())


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"protocol": PROTOCOL + 1}, f"the driver speaks version {PROTOCOL + 1} of the worker protocol"),
        ({"timeout": 0}, "above 0 seconds"),
        ({"timeout": "2"}, "order.timeout must be"),
        ({"timeot": 2}, "did you mean 'timeout'"),
        ({"cells": {}}, "order.cells must be"),
        ({"setup": {}}, "order.setup must be|is missing"),
        ({"options": {"device": "cpu", "plugins": ["/etc/passwd"]}}, "plugins travel as text"),
        ({"options": {"device": "cpu", "shell": "x"}}, "order.options has no setting 'shell'"),
    ],
)
def test_what_is_no_order_is_refused(order: Order, values: dict[str, Any], reason: str) -> None:
    with pytest.raises(ProtocolError, match=reason):
        read_order(changed(order.text(), **values))


def test_an_order_says_its_version(order: Order) -> None:
    values = json.loads(order.text())
    del values["protocol"]
    with pytest.raises(ProtocolError, match="does not say the version"):
        read_order(json.dumps(values).encode())


def test_a_node_with_another_version_is_named() -> None:
    with pytest.raises(ProtocolError, match="the node speaks version 7"):
        read_message(changed(message_line(Hello(HERE)), protocol=7, setup={"new": 1}))


@pytest.mark.parametrize("name", ["../x.py", "/x.py", "a/x.py", "a\\x.py", ".x.py", "x.txt", "C:x.py", "x.py\n", ""])
def test_no_plugin_escapes_from_its_folder(order: Order, name: str) -> None:
    (plugin,) = json.loads(order.text())["plugins"]
    with pytest.raises(ProtocolError, match="no name of a file"):
        read_order(changed(order.text(), plugins=[{**plugin, "name": name}]))


def test_a_plugin_is_the_one_that_was_sent(order: Order) -> None:
    (plugin,) = json.loads(order.text())["plugins"]
    with pytest.raises(ProtocolError, match=r"mine.py is not the one"):
        read_order(changed(order.text(), plugins=[{**plugin, "text": plugin["text"] + " "}]))


def test_a_plugin_that_cannot_travel_is_said_before(tmp_path: Path) -> None:
    (tmp_path / "my own.py").write_text("")
    (tmp_path / "latin.py").write_bytes(b"# \xe4\n")
    for name, reason in (
        ("my own.py", "name the file with letters"),
        ("latin.py", "UTF-8"),
        ("none.py", "cannot be read"),
    ):
        with pytest.raises(ConfigError, match=reason):
            Plugin.read(str(tmp_path / name))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda parcel: parcel.pop("location"), "KeyError"),
        (lambda parcel: parcel["cell"]["method"].update(name="fedmdd"), "did you mean 'fedmd'"),
        (lambda parcel: parcel["cell"]["training"].update(rounds="2"), "training.rounds"),
        (lambda parcel: parcel["cell"].update(protocol={"data": 99}), "comes out differently here, in protocol"),
        (lambda parcel: parcel["cell"]["method"].update(plugin="0123"), "comes out differently here, in method"),
        (lambda parcel: parcel.update(cell=[]), "no cell"),
    ],
)
def test_a_cell_is_the_same_everywhere(order: Order, change: Callable[[Any], Any], reason: str) -> None:
    parcel = json.loads(order.text())["cells"][0]
    change(parcel)
    with pytest.raises(ProtocolError, match=reason):
        read_cell(parcel)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"", "no JSON"),
        (b"[1]\n", "no mapping"),
        (b"[" * 100_000, "no JSON"),
        (b"\xff\xfe", "no JSON"),
        (b'{"kind":"pickle"}', "no message begins like"),
        (b'{"kind":"ended","key":"k","status":"done"}', "has no setting 'status'"),
        (b'{"kind":"ended"}', "ended.key is missing"),
        (b'{"kind":"ended","key":1}', "message ended.key must be a valid string"),
        (b'{"kind":"kept","key":"k","sha256":"0","place":0,"rounds":0,"part":1,"parts":1,"content":""}', "part 1 of 1"),
        (
            b'{"kind":"kept","key":"k","sha256":"0","place":-1,"rounds":0,"part":0,"parts":1,"content":""}',
            "part 0 of 1",
        ),
        (
            b'{"kind":"kept","key":"k","sha256":"0","place":0,"rounds":-1,"part":0,"parts":1,"content":""}',
            "part 0 of 1",
        ),
        (
            b'{"kind":"kept","key":"k","sha256":"0","place":0,"rounds":0,"part":0,"parts":999999999,"content":""}',
            "part 0",
        ),
        (b'{"kind":"recorded","key":"k","files":{"run.json":"{}"},"sha256":"0"}', "not the one that was sent"),
    ],
)
def test_what_is_no_message_is_refused(line: bytes, reason: str) -> None:
    with pytest.raises(ProtocolError, match=reason):
        read_message(line)


def test_a_line_has_its_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fl_bench.benchmarks.running.wire.MOST_LINE", 10)
    with pytest.raises(ProtocolError, match=r"has \d+ bytes; 10 are the most"):
        read_message(message_line(Ended("k")))


@given(
    st.binary(max_size=60)
    | st.dictionaries(
        st.sampled_from(["kind", "key", "part", "parts", "files", "setup", "protocol", "reason"]),
        st.sampled_from([*MESSAGES]) | st.none() | st.integers() | st.floats() | st.lists(st.integers(), max_size=2),
    ).map(lambda values: json.dumps(values).encode())
)
def test_whatever_comes_is_a_message_or_is_refused(line: bytes) -> None:
    try:
        message = read_message(line)
    except ProtocolError:
        return
    assert read_message(message_line(message)) == message


def test_a_checkpoint_comes_in_parts() -> None:
    content = bytes(range(256)) * (PART // 128)  # two parts
    parts = parts_of("k", content, b"!", 7)
    assert [(part.part, part.parts, part.place, part.rounds) for part in parts] == [(n, 3, 7, 1) for n in range(3)]
    whole = b"".join(decoded(part.content, "it") for part in parts)
    assert whole == b"!" + content
    assert parts[-1].is_of(whole)
    for changed in (replace(parts[-1], place=8), replace(parts[-1], rounds=2)):
        assert not changed.is_of(whole)
    assert not parts[-1].is_of(whole[:-1] + b"?")
    assert parts_of("k", b"", b"", 0) == []
    with pytest.raises(ProtocolError, match="it is no Base64"):
        decoded("*", "it")


@pytest.mark.parametrize(
    ("there", "said"),
    [
        ({"packages": {"torch": "2.14.0", "pandas": None}}, "torch is 2.15.0 here and 2.14.0 on node-3"),
        ({"packages": {"torch": "2.15.0", "pandas": "3.1"}}, "pandas is not there here and 3.1 on node-3"),
        ({"fl_bench": "2"}, "fl-bench is 1 here and 2 on node-3"),
        ({"revision": None}, "the revision is abc here and not there on node-3"),
        ({"dirty": True}, "the checkout is as committed here and changed on node-3"),
        ({"code": "d"}, "the code of fl-bench on node-3 differs from that here"),
        ({"python": "3.11.0"}, "Python is 3.12.1 here and 3.11.0 on node-3"),
        ({"instructions": "AVX512"}, "the instruction set is AVX2 here and AVX512 on node-3"),
        ({"plugins": {}}, "the plugin mine.py is 0123456789 here and not there on node-3"),
        ({"data": {"digits": "g"}}, "the data set digits is f here and g on node-3"),
    ],
)
def test_every_difference_has_a_name(there: dict[str, Any], said: str) -> None:
    found = replace(HERE, node="node-3", **there)
    assert mismatch(HERE, found) == [said]
    assert said in str(Mixture("node-3", mismatch(HERE, found)))


def test_a_node_may_have_more_than_it_needs() -> None:
    found = replace(HERE, node="x", data={**HERE.data, "mnist": "m"}, plugins={**HERE.plugins, "other.py": "1"})
    assert mismatch(HERE, found) == []


def test_this_machine_equals_itself_and_knows_its_data(cell_of: Callable[..., Cell]) -> None:
    here = setup({}, data_of([cell_of("local"), cell_of("fedmd")]), None)
    assert mismatch(here, setup({}, ["digits"], None)) == []
    assert len(here.data["digits"]) == 64
    assert here.instructions
    assert len(here.code) == 64
    (lacking,) = setup({}, ["npz:nowhere.npz"], None).data.values()
    assert lacking.startswith("missing (")


def test_what_a_node_says_does_not_command_a_terminal() -> None:
    assert shown("a\x1b[31m\nb\r\x07") == "a [31m b"
    assert len(shown("x" * 5000)) == 1000
