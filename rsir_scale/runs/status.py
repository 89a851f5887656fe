"""Where a run stands, as `rsir status --json` prints it: from manifests, plans, commits and events, within a second.

Comes in: a run's store. Goes out: one JSON-ready dict. It reads no rows and needs
neither torch nor Ray. What has not happened yet is null; counts of an iteration that is still generating are those of
its committed shards, before duplicates are settled.

acceptance = accepted_steps / steps, and of the steps that chose the source's own next item (acceptance_true), any item
of the source (acceptance_own) or another one (acceptance_other); mean_accepted_steps = accepted_steps / (sources ·
generation.trials_per_sequence), for the counter trials counts all rows that these may leave;
novel_share = novel_steps / accepted_steps; own_items_share = own_only_rows / rows_kept; growth = training pairs of
D_{k+1} / those of D_k. train_s is over all starts, generate_s of the last one. facts are the manifest's.
"""

from collections.abc import Mapping
from typing import Any

from rsir_scale.config.settings import Config
from rsir_scale.runs import layout
from rsir_scale.runs.begun import read_config, read_provenance
from rsir_scale.runs.commits import read_commits, total_counts
from rsir_scale.runs.events import RUN_DONE, RUN_FAILED, TRAINING_STARTED, read_events
from rsir_scale.runs.manifest import Manifest, combined_digest, read_chain
from rsir_scale.runs.plan import read_plan
from rsir_scale.runs.selection import best_iteration
from rsir_scale.storage.base import Store

DONE, PLANNED, TRAINING, EVALUATING, GENERATING, FAILED = (
    "done",
    "planned",
    "training",
    "evaluating",
    "generating",
    "failed",
)


def read_status(store: Store, config: Config | None = None) -> dict[str, Any]:
    """Describe a run.

    Args:
        store: of the run.
        config: its settings, where they were read already.

    Raises:
        InputError: there is no run here.
        IntegrityError: a file that it rests on is damaged, or the chain of manifests is broken.
    """
    config = config or read_config(store)
    last, trials = config.loop.iterations, config.generation.trials_per_sequence
    manifests = read_chain(store)
    events = read_events(store)
    ended_as = str(events[-1]["event"]) if events else ""
    # RUN_DONE before the last iteration is the end by loop.patience.
    complete = ended_as == RUN_DONE or len(manifests) > last
    iterations = _finished(store, manifests, writing_until=0 if complete else last, trials=trials)
    if not complete and all(entry["state"] == DONE for entry in iterations):
        begun = {event.get("iteration") for event in events if event["event"] == TRAINING_STARTED}
        iterations.append(_unfinished(store, len(manifests), begun=len(manifests) in begun))
    state = DONE if complete else str(iterations[-1]["state"])
    return {
        "run": store.root,
        "state": FAILED if ended_as == RUN_FAILED and not complete else state,
        "digest": combined_digest(manifests),
        "best_iteration": best_iteration(manifests),
        "iterations": iterations,
    }


def _finished(store: Store, manifests: list[Manifest], *, writing_until: int, trials: int) -> list[dict[str, Any]]:
    provenance = read_provenance(store)
    pairs = provenance.dataset.training_pairs if provenance else 0
    entries = []
    for manifest in manifests:
        written = manifest.generation
        still_writing = written is None and manifest.iteration < writing_until
        entry = _entry(manifest.iteration, GENERATING if still_writing else DONE)
        if written is not None:
            entry |= _shares(written.counters, trials)
            entry["errors"] = written.counters.get("errors", 0)
            entry |= {"sources": written.sources, "new_sequences": written.rows, "new_pairs": written.pairs}
            grown = pairs + written.pairs - written.replaced_pairs
            entry["growth"] = _ratio(grown, pairs)
            pairs = grown
        elif still_writing:
            entry |= _progress(store, manifest.iteration, trials)
        entry |= {name: manifest.timings.get(name) for name in ("train_s", "generate_s")}
        entry["metrics"] = dict(manifest.metrics)
        entry["facts"] = list(manifest.facts)
        entries.append(entry)
    return entries


def _unfinished(store: Store, iteration: int, *, begun: bool) -> dict[str, Any]:
    if store.exists(layout.model(iteration)):
        return _entry(iteration, EVALUATING)
    begun = begun or store.exists(layout.fit_state(layout.training(iteration)))
    return _entry(iteration, TRAINING if begun or iteration else PLANNED)


def _entry(iteration: int, state: str) -> dict[str, Any]:
    return {
        "iteration": iteration,
        "state": state,
        "sources": None,
        "errors": None,
        "new_sequences": None,
        "new_pairs": None,
        "acceptance": None,
        "acceptance_true": None,
        "acceptance_own": None,
        "acceptance_other": None,
        "mean_accepted_steps": None,
        "novel_share": None,
        "own_items_share": None,
        "growth": None,
        "train_s": None,
        "generate_s": None,
        "metrics": {},
        "facts": [],
    }


def _progress(store: Store, iteration: int, trials: int) -> dict[str, Any]:
    """Counts of the shards committed so far."""
    if not store.exists(layout.plan(iteration)):
        return {}
    counters = total_counts(read_commits(store, read_plan(store, iteration)))
    return {
        "errors": counters.get("errors", 0),
        "new_sequences": counters.get("rows_kept", 0),
        "new_pairs": counters.get("pairs"),
        **_shares(counters, trials),
    }


def _shares(counters: Mapping[str, int], trials: int) -> dict[str, float | None]:
    def share(part: str, whole: str) -> float | None:
        return _ratio(counters.get(part), counters.get(whole, 0))

    return {
        "acceptance": share("accepted_steps", "steps"),
        **{f"acceptance_{kind}": share(f"accepted_{kind}", f"chosen_{kind}") for kind in ("true", "own", "other")},
        "mean_accepted_steps": _ratio(counters.get("accepted_steps"), counters.get("sources", 0) * trials),
        "novel_share": share("novel_steps", "accepted_steps"),
        "own_items_share": share("own_only_rows", "rows_kept"),
    }


def _ratio(part: int | None, whole: int) -> float | None:
    return None if part is None or not whole else part / whole
