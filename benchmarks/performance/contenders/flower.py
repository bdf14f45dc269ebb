"""The contender Flower (PyPI: flwr[simulation]): its simulation engine on Ray, a round at a time (benchmarks room).

Flower runs all rounds in one call, so it runs in a process of its own, and its test on the server, which ends every
round, waits there until the next round is asked for. Ray and its actors are up before a round is timed.
"""

from __future__ import annotations

import os
from functools import cache
from importlib.util import find_spec
from multiprocessing import get_context
from typing import TYPE_CHECKING, Any

from .contender import Contender, fedavg_only

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from ..workloads import Dealt, Workload

ENDLESS = 10**6
"""More rounds than anybody waits for."""

TEST_BATCH = 256
"""Images per forward pass of the test."""


class Flower(Contender):
    """FedAvg of `flwr.serverapp.strategy`, every client a virtual node, an actor per core with one torch thread."""

    name = "flower"

    def __init__(self, workload: Workload, dealt: Dealt, device: str, seed: int) -> None:
        context = get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_simulate, args=(theirs, workload, device, seed))
        self.process.start()
        theirs.close()
        self._answer()  # of the test before the first round

    @staticmethod
    def missing(workload: Workload) -> str | None:
        """See `Contender.missing`."""
        if find_spec("flwr") is None or find_spec("ray") is None:
            return "flwr[simulation] is not installed"
        return fedavg_only(workload)

    def round(self) -> float:
        """See `Contender.round`."""
        self.pipe.send("go")
        return self._answer()

    def close(self) -> None:
        """See `Contender.close`."""
        self.pipe.close()
        self.process.join(timeout=30)
        if self.process.is_alive():
            self.process.kill()

    def _answer(self) -> float:
        try:
            accuracy: float = self.pipe.recv()
        except EOFError:
            raise RuntimeError("Flower's process has ended; what it printed says why") from None
        return accuracy


def _simulate(pipe: Connection, workload: Workload, device: str, seed: int) -> None:
    """Run Flower until the pipe closes."""
    os.environ["FLWR_TELEMETRY_ENABLED"] = "0"
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ["OMP_NUM_THREADS"] = "1"
    # Ray's actors look into the folder it is started in first, where a folder called fl_bench is not the package.
    places = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    os.environ["PYTHONPATH"] = os.pathsep.join(os.path.abspath(place) for place in places if place)
    os.chdir(os.path.abspath(os.sep))
    import ray
    import torch
    from flwr.app import ArrayRecord, MetricRecord
    from flwr.serverapp import ServerApp
    from flwr.serverapp.strategy import FedAvg
    from flwr.simulation import run_simulation
    from torch.utils.data import DataLoader, TensorDataset

    from .plain import net

    torch.manual_seed(seed)
    model = net(workload.model, workload.classes).to(device)
    images, labels = workload.deal(seed).everybodys_test()
    loader = DataLoader(TensorDataset(images, labels), TEST_BATCH)

    def test(number: int, arrays: Any) -> Any:
        model.load_state_dict(arrays.to_torch_state_dict())
        model.eval()
        with torch.no_grad():
            hits = [(model(x.to(device)).argmax(dim=1) == y.to(device)).sum() for x, y in loader]
        accuracy = 100 * float(sum(hits)) / len(labels)
        pipe.send(accuracy)
        try:
            pipe.recv()
        except EOFError:
            ray.shutdown()  # or its processes would stay
            os._exit(0)
        return MetricRecord({"accuracy": accuracy})

    class Complete(FedAvg):  # type: ignore[misc]  # flwr need not be installed
        """Flower goes on without clients that failed; then a round would not be the workload's."""

        def aggregate_train(self, server_round: int, replies: Any) -> Any:
            replies = list(replies)
            if any(reply.has_error() for reply in replies) or len(replies) < workload.clients:
                os._exit(1)  # its log says why; the parent sees the pipe end
            return super().aggregate_train(server_round, replies)

    server = ServerApp()

    @server.main()  # type: ignore[untyped-decorator]
    def main(grid: Any, context: Any) -> None:
        strategy = Complete(fraction_evaluate=0.0, min_available_nodes=workload.clients)
        strategy.start(grid, ArrayRecord(model.state_dict()), num_rounds=ENDLESS, evaluate_fn=test)

    run_simulation(
        server,
        _client_app(workload, device, seed),
        workload.clients,
        backend_config={"client_resources": {"num_cpus": 1, "num_gpus": 0.0 if device == "cpu" else 1.0}},
    )


def _client_app(workload: Workload, device: str, seed: int) -> Any:
    """The clients."""
    from flwr.app import ArrayRecord, Message, MetricRecord, RecordDict
    from flwr.clientapp import ClientApp

    app = ClientApp()

    @app.train()  # type: ignore[untyped-decorator]
    def train(message: Any, context: Any) -> Any:
        import torch
        import torch.nn.functional as F

        from .plain import net

        torch.set_num_threads(1)
        model = net(workload.model, workload.classes)
        model.load_state_dict(message.content["arrays"].to_torch_state_dict())
        model.to(device).train()
        optimizer = torch.optim.SGD(model.parameters(), lr=workload.lr)
        batches = _loader(workload, seed, int(context.node_config["partition-id"]))
        for _ in range(workload.epochs):
            for images, labels in batches:
                optimizer.zero_grad()
                loss = F.cross_entropy(model(images.to(device)), labels.to(device))
                loss.backward()  # type: ignore[no-untyped-call]  # torch's
                optimizer.step()
        metrics = MetricRecord({"num-examples": len(batches.dataset)})
        content = RecordDict({"arrays": ArrayRecord(model.state_dict()), "metrics": metrics})
        return Message(content=content, reply_to=message)

    return app


@cache
def _loader(workload: Workload, seed: int, client: int) -> Any:
    """A client's batches; an actor makes them once."""
    from torch.utils.data import DataLoader, TensorDataset

    return DataLoader(TensorDataset(*_dealt(workload, seed).private(client)), workload.batch_size, shuffle=True)


@cache
def _dealt(workload: Workload, seed: int) -> Dealt:
    """The data; an actor loads them once."""
    return workload.deal(seed)
