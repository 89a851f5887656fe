"""Where a study stands, as `rsir study status --json` prints it; needs neither torch nor Ray to be asked.

Comes in: a study's folder. Goes out: one JSON-ready mapping. A cell is *done*, *failed* (with its reason), *running*
(somebody holds its lease), *stopped* (begun, and held by nobody) or *to do*. The estimate is of one cell after another:
divide it by the cells that run at once.
"""

from typing import Any

import numpy as np

from rsir_scale.runs.begun import is_run
from rsir_scale.runs.lease import is_held
from rsir_scale.runs.status import DONE, read_status
from rsir_scale.storage.base import Store
from rsir_scale.studies.cells import Cell
from rsir_scale.studies.folder import Study

FAILED, RUNNING, STOPPED, TO_DO = "failed", "running", "stopped", "to do"
_TIMED = ("train_s", "generate_s")


def study_status(study: Study) -> dict[str, Any]:
    """Describe a study. Raises IntegrityError: a cell's run is damaged."""
    rows = [_row(study, cell) for cell in study.cells()]
    counts = {state: sum(row["state"] == state for row in rows) for state in (DONE, RUNNING, STOPPED, FAILED, TO_DO)}
    return {
        "study": study.store.root,
        "state": DONE if counts[DONE] == len(rows) else RUNNING if counts[RUNNING] else STOPPED,
        "fingerprint": study.record.fingerprint,
        "seeds": list(study.seeds()),
        "cells": counts,
        "cell_seconds_left": _estimate(rows),
        "rows": [{name: value for name, value in row.items() if name != "kind"} for row in rows],
    }


def _row(study: Study, cell: Cell) -> dict[str, Any]:
    store, failure = study.run_store(cell), study.failure(cell)
    status = read_status(store) if is_run(store) else None
    done = status is not None and status["state"] == DONE
    return {
        "cell": cell.key.partition("/")[2],
        "kind": (cell.dataset, cell.name),
        "state": DONE if done else _state(store, failed=failure is not None, begun=status is not None),
        "at": None if status is None or done else f"iteration {status['iterations'][-1]['iteration']}",
        "seconds": None if status is None else _seconds(status),
        "reason": None if failure is None or done else failure.reason,
    }


def _state(store: Store, *, failed: bool, begun: bool) -> str:
    if begun and is_held(store):
        return RUNNING
    if failed:
        return FAILED
    return STOPPED if begun else TO_DO


def _seconds(status: dict[str, Any]) -> float:
    return sum(entry[name] or 0.0 for entry in status["iterations"] for name in _TIMED)


def _estimate(rows: list[dict[str, Any]]) -> float | None:
    """Seconds of all cells that are not done, each as long as those of its kind took; None before any is done."""
    taken: dict[Any, list[float]] = {}
    for row in rows:
        if row["state"] == DONE:
            taken.setdefault(row["kind"], []).append(row["seconds"])
    if not taken:
        return None
    everything = float(np.mean([seconds for kind in taken.values() for seconds in kind]))
    left = [row["kind"] for row in rows if row["state"] != DONE]
    return round(sum(float(np.mean(taken[kind])) if kind in taken else everything for kind in left), 1)
