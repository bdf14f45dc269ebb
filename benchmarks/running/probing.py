"""What plans ask of nets (benchmarks room), and the answers, for which torch is loaded: bytes, memory, a step's time.

    python -P -m fl_bench.benchmarks.running.probing

is the process that `nets.py` asks: a JSON list of questions in, a list of answers out.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

from fl_bench.lazy import F, torch

from ...federation.models import build_net, net_bytes

if TYPE_CHECKING:
    from ...federation.models.net import Net

PROBE_STEPS = 20
"""Training steps that the measurement of a step's time takes."""
PROBE_SAMPLES = 1024
"""Samples of such a step at most; a larger batch is taken to need so much more time."""
PROBE_SECONDS = 2.0
"""Seconds after which no further step is taken."""


@dataclass(frozen=True)
class Question:
    """What is asked of a net; fields that do not matter to the answer keep their defaults."""

    what: Literal["bytes", "memory", "engine", "step"]
    """`bytes`: the fields of `NetBytes`. `memory`: bytes that training takes for a member. `engine`: the engine that
    `auto` means. `step`: seconds of one client's training step on one thread, and the date when it was timed."""
    net: str
    shape: tuple[int, ...]
    """Of a sample."""
    classes: int
    vocabulary: int | None = None
    """Number of different tokens of texts."""
    width: int | None = None
    """Features between body and head; the net's own when None."""
    number: int = 4
    """Bytes of a number."""
    batch: int = 0
    """Samples of a step."""
    slots: int = 0
    """Moments of the optimizer per weight."""
    dtype: str = "float32"
    """Of weights and inputs."""
    engine: Literal["auto", "loop", "stacked"] = "auto"
    """As asked for."""
    kind: str = "cpu"
    """Of the device, `cpu` or `cuda`."""
    members: int = 1
    """Clients of the architecture."""


def answer(question: Question) -> Any:
    """The answer, as plain values of JSON; see `Question.what`. Loads torch."""
    from ...federation.engine import chosen_engine
    from ...federation.memory import member_bytes

    net = _net(question.net, question.shape, question.classes, question.vocabulary)
    match question.what:
        case "bytes":
            size = (question.width, question.number, question.vocabulary)
            return asdict(net_bytes(question.net, question.shape, question.classes, *size))
        case "memory":
            dtype = getattr(torch, question.dtype)
            return member_bytes(net, question.shape, question.batch, question.slots, dtype)
        case "engine":
            return chosen_engine(question.engine, question.kind, net, question.members)
        case "step":
            together = chosen_engine(question.engine, question.kind, net, question.members) == "stacked"
            seconds = step_seconds(net, question.shape, question.batch, question.members if together else 1)
            return [seconds, f"{datetime.now(UTC):%Y-%m-%d}"]


@lru_cache(maxsize=64)
def _net(name: str, shape: tuple[int, ...], classes: int, vocabulary: int | None) -> Net:
    return build_net(name, shape, classes, key=0, vocabulary=vocabulary)


def step_seconds(net: Net, shape: tuple[int, ...], batch: int, members: int) -> float:
    """Median seconds of one client's training step on one thread of this machine's processor.

    Args:
        net: a client's net, which stays as it is.
        shape: of a sample.
        batch: samples of a step.
        members: clients that are trained at once; 1 is training one after the other.
    """
    from copy import deepcopy

    from ...federation.forward import stacked_outputs

    torch.set_num_threads(1)
    net = deepcopy(net)
    weights = {key: tensor.detach().expand(members, *tensor.shape).clone() for key, tensor in net.state_dict().items()}
    trained = [weights[key].requires_grad_() for key, _ in net.named_parameters()] if members > 1 else net.parameters()
    optimizer = torch.optim.Adam(trained)
    timed = min(batch, PROBE_SAMPLES)
    inputs, labels = torch.zeros(timed, *shape), torch.zeros(members * timed, dtype=torch.int64)
    times = []
    for _ in range(PROBE_STEPS):
        began = time.perf_counter()
        optimizer.zero_grad()
        outputs = stacked_outputs(net, weights, inputs, shared=True).flatten(0, 1) if members > 1 else net(inputs)
        (members * F.cross_entropy(outputs, labels)).backward()  # type: ignore[no-untyped-call]  # untyped in torch
        optimizer.step()
        times.append(time.perf_counter() - began)
        if sum(times) > PROBE_SECONDS:
            break
    return sorted(times)[len(times) // 2] / members * batch / timed


def main() -> None:
    """Answer the questions of standard input."""
    questions = [Question(**{**asked, "shape": tuple(asked["shape"])}) for asked in json.load(sys.stdin)]
    json.dump([answer(question) for question in questions], sys.stdout)


if __name__ == "__main__":
    main()
