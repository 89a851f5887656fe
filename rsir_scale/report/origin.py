"""Where a run comes from and what it took: seconds by phase, settings that were chosen, versions, the chain of links.

Comes in: a finished run. Goes out: sections. Seconds of fits and generations are those of the manifests; those of an
evaluation lie between two events, and are left out where a restart came in between. Memory is not recorded by a run.
"""

import json
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from rsir_scale.report.blocks import Cell, Section, Table, turned
from rsir_scale.report.figures import Axes, Series, bars
from rsir_scale.report.finished import Finished
from rsir_scale.runs import layout
from rsir_scale.runs.begun import read_provenance
from rsir_scale.runs.events import EVALUATION_STARTED, GENERATION_STARTED, RUN_DONE, read_events
from rsir_scale.runs.manifest import combined_digest
from rsir_scale.runs.run import Run
from rsir_scale.storage.base import Store, sha256_of

_EVALUATED = frozenset({GENERATION_STARTED, RUN_DONE})
_PHASES = {
    "train_s": "training",
    "learn_s": "fitting the augmenter",
    "evaluate_s": "evaluation",
    "generate_s": "writing",
}
_HASH = 12  # digits shown
_MIB = 1 << 20


def time_taken(finished: Finished) -> Section:
    """Seconds by phase and iteration."""
    evaluated = _evaluations(finished.run.store)
    rows = {
        f"iteration {manifest.iteration}": phase_seconds(manifest.timings, evaluated.get(manifest.iteration))
        for manifest in finished.manifests
    }
    used = [name for name in _PHASES.values() if any(row.get(name) for row in rows.values())]
    series = [Series(name, list(rows), [row.get(name) for row in rows.values()]) for name in used]
    words = f"{_clock(sum(value for row in rows.values() for value in row.values()))} in all."
    drawn = bars("time", "Seconds by phase", series, Axes("", "seconds"), stacked=True)
    return Section("Time", words, (drawn, turned("", tuple(used), rows)))


def phase_seconds(timings: Mapping[str, float], evaluation_s: float | None = None) -> dict[str, float]:
    """An iteration's seconds by the names of its phases; what an augmenter learns is not part of writing here."""
    known = dict(timings) | ({} if evaluation_s is None else {"evaluate_s": evaluation_s})
    if "learn_s" in known and "generate_s" in known:
        known["generate_s"] = max(0.0, known["generate_s"] - known["learn_s"])
    return {name: known[key] for key, name in _PHASES.items() if key in known}


def origin(finished: Finished) -> Section:
    """Data, versions, settings that differ from the defaults, and the chain of manifests."""
    run, manifests = finished.run, finished.manifests
    last = manifests[-1].model
    chosen = tuple((key, setting(last.settings[key])) for key in last.explicit if key in last.settings)
    facts = tuple((manifest.iteration, fact) for manifest in manifests for fact in manifest.facts)
    tables = [
        Table("Run", ("", ""), _facts(run, combined_digest(manifests))),
        Table("Settings that differ from the defaults", ("setting", "value"), chosen),
        Table("What the manifests note", ("iteration", "fact"), facts),
        Table("Links of the chain", ("link", "SHA-256", "files", "bytes"), _links(finished), folded=True),
        Table(
            "All settings", ("setting", "value"), tuple((k, setting(v)) for k, v in last.settings.items()), folded=True
        ),
    ]
    return Section("Where it comes from", "", tuple(table for table in tables if table.rows))


def setting(value: Any) -> str:
    """A setting as a config file writes it."""
    return value if isinstance(value, str) else json.dumps(value)


def _facts(run: Run, digest: str | None) -> tuple[tuple[Cell, ...], ...]:
    provenance = read_provenance(run.store)
    meta = run.dataset.meta
    rows: list[tuple[Cell, ...]] = [
        ("run", run.store.root),
        ("dataset", run.dataset.path),
        ("users", meta.users),
        ("items", meta.items),
        ("training pairs", meta.training_pairs),
        ("dataset's fingerprint", meta.fingerprint),
        ("seed", str(run.config.seed)),
        ("digest", digest),
    ]
    if provenance is not None:
        host = dict(provenance.host)
        memory = host.pop("memory_bytes", None)
        rows += [(f"host's {name}", value) for name, value in host.items()]
        rows += [("host's memory", f"{int(memory) / _MIB:,.0f} MiB")] if memory else []
        rows += [(name, version) for name, version in provenance.versions.items()]
    return tuple(rows)


def _links(finished: Finished) -> tuple[tuple[Cell, ...], ...]:
    store, rows = finished.run.store, []
    for manifest in finished.manifests:
        keys = {layout.model_link(manifest.iteration): manifest.model}
        if manifest.written is not None:
            keys[layout.generation_link(manifest.iteration)] = manifest.written  # type: ignore[assignment]
        for key, link in keys.items():
            size = sum(entry.bytes for entry in link.files)
            rows.append((key, sha256_of(store, key)[0][:_HASH], len(link.files), size))
    return tuple(rows)


def _evaluations(store: Store) -> dict[int, float]:
    """Seconds of each evaluation that nothing interrupted."""
    return {
        int(one["iteration"]): float(other["time"]) - float(one["time"])  # type: ignore[arg-type]
        for one, other in pairwise(read_events(store))
        if one["event"] == EVALUATION_STARTED and other["event"] in _EVALUATED and "time" in one and "iteration" in one
    }


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"
