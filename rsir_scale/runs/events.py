"""What happened, one JSON line an event: for people and for `rsir status`, never for correctness.

Comes in: an event's name and its facts. Goes out: a line `{"time": …, "event": …, …}` at the end of events.jsonl. A
crash may tear the last line; readers pass over lines that do not parse. Secrets have no business here.
"""

import json
import time
from collections.abc import Callable, Mapping

from rsir_scale.runs import layout
from rsir_scale.storage.base import Store

Json = str | int | float | bool | None
RUN_STARTED = "run_started"
TRAINING_STARTED = "training_started"
TRAINING_RESTARTED = "training_restarted"
EVALUATION_STARTED = "evaluation_started"
GENERATION_STARTED = "generation_started"
ITERATION_DONE = "iteration_done"
RUN_DONE = "run_done"
RUN_STOPPED = "run_stopped"
RUN_FAILED = "run_failed"


def append_event(
    store: Store, event: str, facts: Mapping[str, Json] | None = None, *, clock: Callable[[], float] = time.time
) -> None:
    """Add an event; `time` is in seconds since 1970. Raises StorageFullError, ResumableError."""
    line = {"time": round(clock(), 3), "event": event, **(facts or {})}
    store.append_line(layout.EVENTS, json.dumps(line, allow_nan=False))


def read_events(store: Store) -> list[dict[str, Json]]:
    """All events that can be read, oldest first."""
    events = []
    for line in store.read_lines(layout.EVENTS):
        try:
            event = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(event, dict) and isinstance(event.get("event"), str):
            events.append(event)
    return events
