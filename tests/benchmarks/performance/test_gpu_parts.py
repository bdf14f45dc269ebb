"""The measurement on a card, tried at tiny size on a CPU: what is counted from shapes, and every kind of part."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import torch

from fl_bench.benchmarks.performance.gpu import __main__ as command
from fl_bench.benchmarks.performance.gpu.floors import Need, count_operations, need
from fl_bench.benchmarks.performance.gpu.launches import count_launches
from fl_bench.benchmarks.performance.gpu.layers import LAYERS, Layer, ways
from fl_bench.benchmarks.performance.gpu.parts import Part, parts
from fl_bench.benchmarks.performance.gpu.profiling import covered, kind_of, summed
from fl_bench.benchmarks.performance.gpu.rounds import ENGINES
from fl_bench.benchmarks.performance.gpu.table import tables
from fl_bench.benchmarks.performance.gpu.workloads import LARGE, SUBJECTS, W6, tiny
from fl_bench.benchmarks.performance.measure import flops
from fl_bench.benchmarks.performance.workloads import W1, W2, W3_COSMOS, W3_FEDMD

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from fl_bench.benchmarks.performance.measure import Row
    from fl_bench.benchmarks.performance.workloads import Workload


def measured(part: str) -> list[Row]:
    """Rows of a part at tiny size on the CPU; plain values, as its file has them."""
    rows = parts()[part].run("cpu", True)
    return list(json.loads(json.dumps(rows)))


# What is counted from shapes


@pytest.mark.parametrize("workload", [W1, W2, W3_FEDMD, W3_COSMOS], ids=lambda one: one.name)
def test_operations_are_those_of_the_suite(workload: Workload) -> None:
    assert need(workload).operations == pytest.approx(flops(workload), rel=1e-9)


@pytest.mark.parametrize("groups", [1, 2, 8])
def test_each_gradient_of_a_convolution_takes_as_much_as_the_convolution(groups: int) -> None:
    # 3 samples of 8 channels and 4x4 places; each of the 8 outputs sums 9 products over 8 / groups channels.
    once = 2 * 3 * 8 * 16 * 9 * 8 // groups
    with torch.device("meta"):
        layer = torch.nn.Conv2d(8, 8, 3, padding=1, groups=groups, bias=False)
        first, later = torch.zeros(3, 8, 4, 4), torch.zeros(3, 8, 4, 4, requires_grad=True)
    assert count_operations(lambda: layer(first)) == once
    assert count_operations(lambda: layer(first).sum().backward()) == 2 * once  # the first layer's inputs need none
    assert count_operations(lambda: layer(later).sum().backward()) == 3 * once


def test_bytes_are_weights_once_in_and_out_a_step_and_images() -> None:
    weights, pixels = 4 * (784 * 200 + 200 + 2000 + 10), 4 * 784
    trained, read = 12_000, 10_000
    assert need(W2).bytes == pytest.approx(
        2 * weights * trained / 32 + weights * read / 256 + pixels * (trained + read)
    )


def test_activations_are_written_once_and_read_once_in_their_number_format() -> None:
    # Of an image the backward pass of W2's net keeps its 784 pixels and 200 hidden units.
    assert need(W2).activations == pytest.approx(2 * 12_000 * 4 * (784 + 200))
    assert need(replace(W2, precision="bf16")).activations == pytest.approx(need(W2).activations / 2)


def test_nets_that_take_turns_are_averaged_and_the_server_has_its_own() -> None:
    alone = [need(replace(W6, model=model)).operations for model in ("resnet18-bn", "squeezenet")]
    assert need(replace(W6, model="resnet18-bn+squeezenet")).operations == pytest.approx(sum(alone) / 2)
    served = [need(replace(W6, model="squeezenet", server=server)).operations for server in ("vgg16", "squeezenet")]
    assert served[0] > served[1]


def test_the_floor_is_the_longer_of_two_times() -> None:
    ceilings = {"float32": 100.0, "bf16": 1000.0, "copy": 10.0}
    times = Need(200.0, 10.0, 50.0).seconds(ceilings, "float32")
    assert times == {"operations": 2.0, "bytes": 1.0, "floor": 2.0, "activations": 5.0}
    assert Need(200.0, 10.0, 50.0).seconds(ceilings, "bf16")["floor"] == 1.0


def test_a_round_launches_what_its_steps_launch_and_a_rest() -> None:
    once, twice = count_launches(W2), count_launches(replace(W2, samples=2 * W2.samples))
    assert once["local_step"] == twice["local_step"] > 20
    assert twice["round"] - once["round"] == 19 * once["local_step"]  # 600 images are 19 steps, 1200 are 38
    assert once["public_step"] is None
    taught = count_launches(W3_FEDMD)
    assert taught["local_step"] == once["local_step"]
    assert taught["public_step"] > 10


# What a profile adds up to


def event(name: str, start: float, end: float, *, card: bool = True, annotation: bool = False) -> Any:
    return SimpleNamespace(
        name=name,
        time_range=SimpleNamespace(start=start, end=end),
        device_type="DeviceType.CUDA" if card else "DeviceType.CPU",
        is_user_annotation=annotation,
        self_cpu_time_total=end - start,
    )


def test_a_profile_of_a_card_adds_up_kernels_and_gaps_by_parts() -> None:
    kernels = [
        event("sm90_gemm", 0, 4e5),
        event("sm90_gemm", 3e5, 5e5),  # beside the first for a tenth of a second
        event("vectorized_elementwise_kernel", 8e5, 9e5),
        event("an annotation", 0, 1e6, annotation=True),
        event("aten::mm", 0, 1e6, card=False),
    ]
    found = summed(kernels, {"training": (0, 6e5), "evaluation": (6e5, 1e6)}, wall=1.0, card=True)
    assert found["kernels"] == pytest.approx(0.7)
    assert (found["busy"], found["gaps"]) == pytest.approx((0.6, 0.4))
    assert found["launches"] == 3
    assert found["kinds"] == pytest.approx({"products": 0.6, "elementwise": 0.1})
    assert found["parts"]["training"] == pytest.approx({"seconds": 0.6, "busy": 0.5, "launches": 2})
    assert found["parts"]["evaluation"] == pytest.approx({"seconds": 0.4, "busy": 0.1, "launches": 1})
    assert [(row["name"], row["calls"]) for row in found["largest"]] == [
        ("sm90_gemm", 2),
        ("vectorized_elementwise_kernel", 1),
    ]


def test_overlapping_kernels_are_busy_once() -> None:
    assert covered([(0, 2), (1, 3), (5, 6), (5.5, 5.75)]) == 4
    assert covered([]) == 0


@pytest.mark.parametrize(
    ("kernel", "kind"),
    [
        ("sm90_xmma_gemm_f32f32_f32f32_f32_tn_n_tilesize128x128x32", "products"),
        ("sm80_xmma_wgrad_implicit_gemm_indexed_tf32f32", "convolutions"),
        ("void cudnn::ops::nchwToNhwcKernel<float, float>", "transposes"),
        ("void at::native::vectorized_elementwise_kernel<4, at::native::CUDAFunctor_add<float>>", "elementwise"),
        ("void at::native::(anonymous namespace)::multi_tensor_apply_kernel<FusedSgdMathFunctor>", "optimizer"),
        ("Memcpy DtoD (Device -> Device)", "copies"),
        ("something", "other"),
    ],
)
def test_kernels_are_known_by_their_names(kernel: str, kind: str) -> None:
    assert kind_of(kernel) == kind


# Every kind of part


def test_ceilings() -> None:
    (row,) = measured("ceilings")
    assert row.pop("replayed") is None  # there are no graphs on a CPU
    assert min(row.values()) > 0


@pytest.mark.parametrize("engine", ENGINES)
def test_rounds_by_engine(engine: str) -> None:
    (row,) = measured(f"round-W2-{engine}")
    assert (row["engine"], len(row["seconds"]), row["steps"], row["peak_bytes"]) == (engine, 3, 2 * 2, None)
    assert 0 < row["training"] < sum(row["seconds"])


def test_profiles() -> None:
    (row,) = measured("profile-W2")
    assert row["launches"] > 0
    assert row["kinds"]["products"] > 0
    assert {"training", "server", "evaluation"} <= row["parts"].keys()
    assert (row["busy"], row["gaps"], row["host"]) == (None, None, None)


def test_layers() -> None:
    rows = measured("layers")
    assert {row["layer"] for row in rows} == {layer.name for layer in LAYERS}
    assert {row["way"] for row in rows} == {"grouped", "channels last", "gathered", "one by one"}
    assert min(row["rate"] for row in rows) > 0


@pytest.mark.parametrize(
    "layer", [Layer("5x5", 3, 4, kernel=5, side=6), Layer("depthwise", 4, 4, kernel=3, side=5, groups=4), LAYERS[1]]
)
def test_ways_to_compute_a_layer_come_to_the_same(layer: Layer) -> None:
    generator = torch.Generator().manual_seed(0)
    sides, kernel = ([layer.side] * 2, [layer.kernel] * 2) if layer.side else ([], [])
    x = torch.randn(3, 2, layer.inputs, *sides, generator=generator, dtype=torch.float64)
    w = torch.randn(3, layer.outputs, layer.inputs // layer.groups, *kernel, generator=generator, dtype=torch.float64)
    first, *others = (work(x, w) for work in ways(layer, "cpu").values())
    assert first.shape == (3, 2, layer.outputs, *sides)
    for other in others:
        torch.testing.assert_close(other, first)


def test_memory() -> None:
    rows = measured("memory-W1")
    assert [row["phase"] for row in rows] == ["local", "distillation"]
    assert min(row["estimate"] for row in rows) > 0
    assert {row[part] for row in rows for part in ("peak", "ratio", "good")} == {None}
    (filled,) = measured("fill-W1")
    assert filled["clients"] > filled["at once"] == 2
    (halved,) = measured("halves-W1")
    assert halved["ran out"] is None
    assert halved["difference"] < 1e-4


@pytest.mark.slow
def test_processes_side_by_side() -> None:
    (row,) = measured("processes-W2-loop")
    assert (row["at once"], row["failed"]) == (1, 0)
    assert row["rounds per hour"] > 0


@pytest.mark.slow
def test_cells_side_by_side() -> None:
    one, two = measured("cells-W2")
    assert (one["at once"], one["workers"], one["failed"]) == (1, 1, 0)
    assert (two["at once"], two["failed"]) == (2, 0)


@pytest.mark.slow
def test_the_tests_that_need_a_card_are_found() -> None:
    (row,) = measured("tests")
    assert row["failed"] == 0
    assert row["skipped" if not torch.cuda.is_available() else "passed"] > 40


@pytest.mark.slow
def test_methods_run_or_say_why_not() -> None:
    rows = measured("methods")
    assert [row["error"] for row in rows if row["error"]] == []
    assert all((row["seconds"] is None) == (row["refused"] is not None) for row in rows)
    assert next(row for row in rows if row["method"] == "cosmos")["seconds"] > 0


def test_launches_are_counted_for_every_small_workload() -> None:
    assert {row["workload"] for row in measured("launches")} == {one.name for one in SUBJECTS.values()} - {
        one.name for one in LARGE.values()
    }


# The command


def test_every_part_is_short_and_every_workload_has_one() -> None:
    known = parts()
    assert all(part.minutes < 8 for part in known.values())
    assert {f"round-{name}-{engine}" for name in SUBJECTS for engine in ENGINES} <= known.keys()
    assert {f"profile-{name}" for name in SUBJECTS} <= known.keys()
    assert {workload.precision for workload in LARGE.values()} == {"float32", "tf32", "bf16"}


def test_tiny_is_tiny(toy: Callable[[str], Workload]) -> None:
    assert tiny(W6).images == "noise-32"
    assert tiny(toy("W3 COSMOS")).public == 20
    assert tiny(W1).public == 0


def test_parts_have_files_and_are_run_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(device: str, small: bool) -> list[Row]:
        raise RuntimeError(f"nothing runs on {device}")

    runs = {"first": lambda device, small: [{"tiny": small}], "second": fails, "third": lambda device, small: []}
    known = {name: Part(name, 3, run) for name, run in runs.items()}
    monkeypatch.setattr(command, "parts", lambda: known)

    def call(*arguments: str) -> int:
        monkeypatch.setattr(
            sys, "argv", ["gpu", "--device", "cpu", "--size", "tiny", "--out", str(tmp_path), *arguments]
        )
        return command.main()

    assert call() == 1  # the first two, of six minutes together; the second fails
    assert sorted(path.stem for path in tmp_path.iterdir()) == ["first", "second"]
    first = json.loads((tmp_path / "first.json").read_text())
    assert (first["rows"], first["size"], first["machine"]["gpu"]) == ([{"tiny": True}], "tiny", None)
    assert "nothing runs on cpu" in json.loads((tmp_path / "second.json").read_text())["error"]
    assert call() == 0
    assert (tmp_path / "third.json").exists()
    capsys.readouterr()
    assert call() == 0  # nothing is left
    assert call("--list") == 0
    told = capsys.readouterr().out
    assert told.count("done (on a CPU, tiny") == 2
    assert "failed (on a CPU, tiny" in told
    assert "RuntimeError: nothing runs on cpu" in told
    assert "0 of 3 parts are left" in told


def test_the_table_has_floors_beside_what_was_measured(tmp_path: Path) -> None:
    start = [sys.executable, "-P", "-m", "fl_bench.benchmarks.performance.gpu", "--out", str(tmp_path)]
    small = ["--device", "cpu", "--size", "tiny"]
    subprocess.run([*start, *small, "ceilings", "round-W2-stacked"], check=True, capture_output=True)
    lines = tables(tmp_path, "tiny").splitlines()
    (found,) = (line for line in lines if line.startswith("| W2 |"))
    columns = dict(zip(lines[0].split(" | "), found.split(" | "), strict=True))
    assert "not measured" not in (columns["floor"], columns["stacked"], columns["the faster, in floors |"])
    assert columns["loop"] == "not measured"
    assert sum("not measured" in line for line in lines) == len(SUBJECTS)
    assert tables(tmp_path, "full").count("not measured") > 3 * len(SUBJECTS)  # tiny files say nothing of full rounds
    unknown = subprocess.run([*start, "round-W9"], check=False, capture_output=True, text=True)
    assert (unknown.returncode, "no part is named 'round-W9'" in unknown.stderr) == (2, True)
