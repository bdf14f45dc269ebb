"""The contender fluke (PyPI: fluke-fl): its FedAVG, a round at a time (benchmarks room)."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from .contender import Contender, fedavg_only

if TYPE_CHECKING:
    from ..workloads import Dealt, Workload

TEST_BATCH = 256
"""Images per forward pass of the test."""


class Fluke(Contender):
    """FedAVG with everything in memory; of its metrics only the accuracy is computed."""

    name = "fluke"

    def __init__(self, workload: Workload, dealt: Dealt, device: str, seed: int) -> None:
        from fluke import DDict, FlukeENV
        from fluke.algorithms.fedavg import FedAVG
        from fluke.data import DataSplitter, DummyDataContainer, FastDataLoader
        from fluke.evaluation import ClassificationEval
        from torchmetrics import Accuracy

        from .plain import net

        settings = FlukeENV()
        settings.set_seed(seed)
        settings.set_device(device)
        settings.set_inmemory(True)
        settings.set_eval_cfg(server=True, locals=False, pre_fit=False, post_fit=False)
        accuracy = Accuracy(task="multiclass", num_classes=workload.classes)
        settings.set_evaluator(ClassificationEval(1, workload.classes, accuracy=accuracy))

        def loader(pair: tuple[Any, Any], batch_size: int, shuffle: bool) -> Any:
            return FastDataLoader(*pair, num_labels=workload.classes, batch_size=batch_size, shuffle=shuffle)

        private = [loader(dealt.private(client), workload.batch_size, True) for client in range(workload.clients)]
        test = loader(dealt.everybodys_test(), TEST_BATCH, False)
        data = DummyDataContainer(private, [None] * workload.clients, test, workload.classes)
        self.federation: Any = FedAVG(
            workload.clients,
            DataSplitter(data),
            DDict(
                model=net(workload.model, workload.classes),
                client=DDict(
                    batch_size=workload.batch_size,
                    local_epochs=workload.epochs,
                    loss="CrossEntropyLoss",
                    optimizer=DDict(name="SGD", lr=workload.lr),
                    scheduler=DDict(name="StepLR", step_size=1, gamma=1),
                ),
                server=DDict(weighted=True),
            ),
        )
        self.seen = _Accuracy()
        self.federation.attach(self.seen)

    @staticmethod
    def missing(workload: Workload) -> str | None:
        """See `Contender.missing`."""
        return "fluke-fl is not installed" if find_spec("fluke") is None else fedavg_only(workload)

    def round(self) -> float:
        """See `Contender.round`."""
        self.federation.run(1, 1.0, finalize=False)
        return self.seen.percent

    def close(self) -> None:
        """See `Contender.close`."""
        from fluke import FlukeENV

        FlukeENV().close_cache()


class _Accuracy:
    """An observer of fluke's: remembers the last accuracy of the global model."""

    percent = 0.0

    def server_evaluation(self, evals: dict[str, float], **rest: Any) -> None:
        self.percent = 100 * float(evals["accuracy"])
