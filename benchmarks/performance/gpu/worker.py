"""One of several processes that share a card: `python -m fl_bench.benchmarks.performance.gpu.worker NAME DEVICE`.

It says `warm` when its rounds may begin, and runs them when it is told to.
"""

from __future__ import annotations

import sys

from ..contenders.ours import Stacked
from ..measure import timed_rounds
from .parts import MEASURED
from .workloads import SUBJECTS, tiny

if __name__ == "__main__":
    name, device, *small = sys.argv[1:]
    workload = next(one for one in SUBJECTS.values() if one.name == name)
    workload = tiny(workload) if small else workload
    running = Stacked(workload, workload.deal(), device, 0)
    timed_rounds(running, 1, 1)
    print("warm", flush=True)
    sys.stdin.readline()
    timed_rounds(running, MEASURED, 0)
