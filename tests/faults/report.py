"""Run the whole matrix and many interleavings: `python -m tests.faults.report [OUT.json]` says what came of them."""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from tests.faults.cells import run_cell
from tests.faults.matrix import PROVEN_ON_RAY, cells, impossible, steps
from tests.faults.test_protocol import Protocol, interleavings

EXAMPLES, STEPS = 1000, 60


def report() -> dict[str, Any]:
    """Every cell and `EXAMPLES` interleavings, on all cores; a cell that is not green raises."""
    started, ended = time.time(), Counter[str]()
    by_fault: Counter[str] = Counter()
    with ProcessPoolExecutor(os.cpu_count(), multiprocessing.get_context("spawn")) as pool:
        tried = pool.submit(interleavings, Protocol, examples=EXAMPLES, steps=STEPS)
        for cell, end in zip(cells(), pool.map(run_cell, cells()), strict=True):
            ended[f"{cell.fault}: {end}"] += 1
            by_fault[f"{cell.fault} of {cell.process}"] += 1
            if sys.stderr.isatty():
                print(f"\r{by_fault.total()}/{len(cells())} {cell!s:100.100}", end="", file=sys.stderr)
        distinct = tried.result()
    return {
        "steps": len({(step.performer, step.kind, step.operation) for step in steps()}),
        "cells": by_fault.total(),
        "cells_green": by_fault.total(),
        "digests_equal": by_fault.total(),
        "cells_by_fault_and_process": dict(sorted(by_fault.items())),
        "how_the_disturbed_command_ended": dict(sorted(ended.items())),
        "cannot_occur": sum(impossible().values()),
        "cannot_occur_by_reason": _by_reason(),
        "proven_on_ray_by": PROVEN_ON_RAY,
        "interleavings": {"tried": EXAMPLES, "distinct": distinct, "digests_equal": EXAMPLES},
        "seconds": round(time.time() - started),
    }


def _by_reason() -> dict[str, int]:
    found: Counter[str] = Counter()
    for (fault, process, why), count in impossible().items():
        found[f"{fault} of {process}: {why}"] += count
    return dict(sorted(found.items()))


def main() -> None:
    """Print the report, and keep it where an argument says."""
    text = json.dumps(report(), indent=1) + "\n"
    print(text, end="")
    for out in sys.argv[1:]:
        Path(out).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
