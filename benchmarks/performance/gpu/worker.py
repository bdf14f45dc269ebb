"""One of several processes that share a card (benchmarks room): `python -P -m ...gpu.worker NAME DEVICE ENGINE`.

It says `warm` when its rounds may begin, and runs them when it is told to.
"""

from __future__ import annotations

import sys

from .rounds import ENGINES
from .sharing import SHARED_ROUNDS
from .workloads import SUBJECTS, tiny

if __name__ == "__main__":
    name, device, engine, *small = sys.argv[1:]
    workload = next(one for one in SUBJECTS.values() if one.name == name)
    workload = tiny(workload) if small else workload
    running = ENGINES[engine](workload, workload.deal(), device, 0)
    for _ in range(2):  # clients distil from the second round on
        running.round()
    print("warm", flush=True)
    sys.stdin.readline()
    for _ in range(SHARED_ROUNDS):
        running.round()
