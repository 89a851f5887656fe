"""What `scale.py`'s rows would come to at a size that nobody measured: a cost model fitted to them, and extended.

It is no measurement, and says so wherever it is printed or written: its assumptions stand beside it.
"""

import argparse
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

ASSUMPTIONS = (
    "steps a user, acceptance and a step's own cost are those of the largest row; a scan's cost is linear in items",
    "a check that passes looks at every item, or every item of the probed clusters, and one that fails at none",
    "clusters grow with the root of the catalogue, and a step looks at all of their centres",
    "a GPU's scan time is given, by default an estimate for an H100 (2 to 5 ms for 1,024 queries and 1M items)",
    "a GPU scans the whole catalogue in every step, and nothing else of its work is counted",
    "shards are independent, so G GPUs take a G-th of the time; starting up, reading and settling are left out",
)


def _scanned(row: dict[str, Any], items: int) -> float:
    """Items that a step of a row looks at, were the catalogue of `items`: all that it may where it passes, else few."""
    if not row["clusters"]:
        return float(row["acceptance_rate"] * items)
    clusters = row["clusters"] * math.sqrt(items / row["items"])
    return float(clusters + row["acceptance_rate"] * items * min(1.0, row["nprobe"] / clusters))


def project(all_rows: Sequence[dict[str, Any]], mode: str, arguments: argparse.Namespace) -> dict[str, Any] | None:
    """Fit an actor's seconds = steps (a + b · items scanned a step) to a mode's rows, and extend it to the target."""
    rows = [row for row in all_rows if row["fidelity"] == mode]
    if len({row["items"] for row in rows}) < 2:
        print(f"no projection of {mode}: it takes two or more --items")
        return None
    per_step = np.array([row["generate_s"] * row["actors"] / row["steps"] for row in rows])
    design = np.array([[1.0, _scanned(row, row["items"])] for row in rows])
    a, b = np.linalg.lstsq(design / per_step[:, None], np.ones_like(per_step), rcond=None)[0]
    largest = max(rows, key=lambda row: (row["items"], row["users"]))
    users, items = arguments.project_users, arguments.project_items
    steps = users * largest["steps"] / largest["users"]
    scan_s = {ms: steps / 1024 * ms / 1000 * items / 1e6 for ms in arguments.gpu_ms}
    found = {
        "is": "a projection, not a measurement",
        "fidelity": mode,
        "users": users,
        "items": items,
        "steps": steps,
        "fit": {
            "model": "seconds of an actor = steps * (a + b * items scanned a step)",
            "a_s_per_step": float(a),
            "b_s_per_item": float(b),
            "points": len(rows),
            "worst_relative_error": float(np.abs(design @ [a, b] / per_step - 1).max()),
        },
        "cpu_actor_hours": float(steps * (a + b * _scanned(largest, items)) / 3600),
        "gpu_hours_of_exact_scans": [
            {"gpus": gpus, "ms_per_1024_per_1M_items": ms, "hours": seconds / 3600 / gpus}
            for gpus in arguments.gpus
            for ms, seconds in scan_s.items()
        ],
        "assumptions": ASSUMPTIONS,
    }
    report_projection(found)
    return found


def report_projection(found: dict[str, Any]) -> None:
    """Print a projection as one."""
    fit = found["fit"]
    print(
        f"PROJECTION (not measured), {found['fidelity']}, to {found['users']:,} users x {found['items']:,} items, "
        f"{found['steps']:.3g} steps: {fit['a_s_per_step'] * 1e6:.1f} us + "
        f"{fit['b_s_per_item'] * 1e12:.0f} us per 1M items scanned a step "
        f"({fit['points']} points, error up to {fit['worst_relative_error']:.0%}): "
        f"{found['cpu_actor_hours']:,.0f} actor hours on this CPU"
    )
    for way in found["gpu_hours_of_exact_scans"]:
        print(
            f"  {way['gpus']} GPUs at an assumed {way['ms_per_1024_per_1M_items']:g} ms per 1,024 queries and 1M: "
            f"{way['hours']:,.1f} hours of scanning"
        )
    for assumption in found["assumptions"]:
        print(f"  assumes: {assumption}")
