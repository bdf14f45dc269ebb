"""The contender BlazeFL (PyPI: blazefl, Python 3.12 and newer): its thread pool of FedAvg clients (benchmarks room)."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from .contender import Contender, fedavg_only

if TYPE_CHECKING:
    from torch import Generator, nn
    from torch.utils.data import DataLoader, Dataset

    from ..workloads import Dealt, Workload

TEST_BATCH = 256
"""Images per forward pass of the test; BlazeFL's handler takes one batch size for everything it loads."""


class BlazeFL(Contender):
    """FedAvg of `blazefl.contrib` with as many threads as cores; on a GPU with one stream of clients."""

    name = "blazefl"

    def __init__(self, workload: Workload, dealt: Dealt, device: str, seed: int) -> None:
        from blazefl.contrib.fedavg import FedAvgBaseServerHandler, FedAvgThreadPoolClientTrainer

        from ...running.provenance import available_cores

        shards, selector = _Shards(dealt), _Selector(workload)
        self.everybody = list(range(workload.clients))
        self.server: Any = FedAvgBaseServerHandler(
            selector, "", shards, 10**9, workload.clients, 1.0, device, TEST_BATCH, seed
        )
        self.trainer: Any = FedAvgThreadPoolClientTrainer(
            selector,
            "",
            shards,
            device,
            workload.clients,
            workload.epochs,
            workload.batch_size,
            workload.lr,
            seed,
            available_cores() if device == "cpu" else 1,
        )

    @staticmethod
    def missing(workload: Workload) -> str | None:
        """See `Contender.missing`."""
        if find_spec("blazefl") is None or find_spec("tqdm") is None:
            return "blazefl[contrib] is not installed"
        return fedavg_only(workload)

    def round(self) -> float:
        """See `Contender.round`."""
        self.trainer.local_process(self.server.downlink_package(), self.everybody)
        for package in self.trainer.uplink_package():
            self.server.load(package)
        return 100 * float(self.server.get_summary()["server_acc"])


class _Selector:
    """What BlazeFL asks for a net."""

    def __init__(self, workload: Workload) -> None:
        self.workload = workload

    def select_model(self, model_name: str) -> nn.Module:
        from .plain import net

        return net(self.workload.model, self.workload.classes)


class _Shards:
    """What BlazeFL asks for data."""

    def __init__(self, dealt: Dealt) -> None:
        from torch.utils.data import TensorDataset

        self.private = [TensorDataset(*dealt.private(client)) for client in range(dealt.split.clients)]
        self.everybody = TensorDataset(*dealt.everybodys_test())

    def get_dataset(self, type_: str, cid: int | None) -> Dataset[Any]:
        return self.everybody if cid is None else self.private[cid]

    def set_dataset(self, type_: str, cid: int | None, dataset: Dataset[Any]) -> None:
        raise NotImplementedError("clients keep the images that they were dealt")

    def get_dataloader(
        self, type_: str, cid: int | None, batch_size: int | None = None, generator: Generator | None = None
    ) -> DataLoader[Any]:
        from torch.utils.data import DataLoader

        return DataLoader(
            self.get_dataset(type_, cid), batch_size or TEST_BATCH, shuffle=cid is not None, generator=generator
        )
