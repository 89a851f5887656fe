"""One fit at a catalogue of a given size, for `training.py`: seconds an update, and memory beyond what was.

The fit is an ordinary one, `train_iteration` in a folder of its own: it validates, keeps the best weights, saves its
state and publishes its model, and all of that is in the memory. The update alone is in the time.
"""

import shutil
import time
from pathlib import Path
from statistics import median
from typing import Any

import psutil
import torch

from benchmarks.record.memory import own_peak
from rsir_scale.config.file import apply_overrides, resolve
from rsir_scale.config.settings import Config
from rsir_scale.data.dataset import open_dataset
from rsir_scale.data.synthetic import synthesize
from rsir_scale.runs.run import Run
from rsir_scale.storage.opening import open_store
from rsir_scale.training import epoch
from rsir_scale.training.iteration import train_iteration, training_task
from rsir_scale.training.worker import Worker

USERS, EPOCHS, SEED = 4096, 3, 2023
SMALL = 1000  # items of the fit that goes before
WARM_UP = 8  # updates, of the first of which optimisers make their moments
_RESET_PEAK = "5"  # see proc(5), clear_refs


def measure_step(items: int, work: Path, settings: list[str]) -> dict[str, Any]:
    """The row of a catalogue; called in a process of its own, whose peak memory is set back."""
    torch.set_num_threads(1)
    # What libraries load at a first fit, and what its batches take, is not the table's.
    _fit(SMALL, work, settings)
    seconds = _timed_updates()
    config, before, peak = _fit(items, work, settings)
    table = (items + 1) * config.model.width * 4
    return {
        "items": items,
        "step_s": median(seconds[WARM_UP:]),
        "updates": len(seconds),
        "peak_rss_bytes": peak - before,
        "table_bytes": table,
        "peak_over_table": (peak - before) / table,
        "batch_size": config.training.batch_size,
        "negatives": config.training.negatives,
        "settings": settings,
    }


def _fit(items: int, work: Path, settings: list[str]) -> tuple[Config, int, int]:
    """Fit once; returns the config, the resident size before there was a model, and the peak from there on."""
    market, folder = work / f"market-{USERS}x{items}", work / f"fit-{items}"
    if not (market / "dataset.json").exists():
        synthesize(users=USERS, items=items, out=market, seed=SEED)
    overrides = [f"training.max_epochs={EPOCHS}", f"seed={SEED}", *settings]
    config = resolve(apply_overrides({"data": {"path": str(market)}}, overrides))
    shutil.rmtree(folder, ignore_errors=True)
    run = Run(open_store(folder), open_dataset(market), config)
    task = training_task(run, 0)
    before = _rss_with_peak_set_back()
    train_iteration(run, 0, worker=Worker(), task=task)
    peak = own_peak()
    shutil.rmtree(folder)
    return config, before, peak


def _timed_updates() -> list[float]:
    """The seconds of each update of any fit of this process, as they come."""
    seconds: list[float] = []
    untimed = epoch.Fit._update

    def timed(self: epoch.Fit[Any], update: int) -> float:
        started = time.perf_counter()
        loss = untimed(self, update)
        seconds.append(time.perf_counter() - started)
        return loss

    epoch.Fit._update = timed  # type: ignore[method-assign]
    return seconds


def _rss_with_peak_set_back() -> int:
    """The resident size now; what the process took at most is counted anew from here."""
    Path("/proc/self/clear_refs").write_text(_RESET_PEAK)
    return int(psutil.Process().memory_info().rss)
