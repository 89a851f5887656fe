"""Bases that cells share: theta_0 of a dataset and seed is trained once, and copied where training settings agree.

Comes in: a cell's run, held, and the run of another cell. Goes out: iteration 0 of that run in this one, byte for byte:
weights, model record, ranks and metrics. The recursion finds it and goes on from there; verification needs nothing
else. Records come last, so a copy that was stopped leaves files that no record names.
"""

from rsir_scale.errors import IntegrityError
from rsir_scale.runs import layout
from rsir_scale.runs.evaluated import read_evaluation
from rsir_scale.runs.events import append_event
from rsir_scale.runs.open_run import HeldRun
from rsir_scale.runs.records import FileEntry, read_entry
from rsir_scale.runs.trained import has_model, read_model
from rsir_scale.storage.base import Store

BASE_SHARED = "base_shared"


def has_base(store: Store) -> bool:
    """Whether theta_0 of a run is trained and evaluated."""
    return has_model(store, 0) and store.exists(layout.metrics(0))


def adopt_base(run: HeldRun, source: Store) -> None:
    """Copy iteration 0 of another run; does nothing where the run has a theta_0 of its own.

    Raises:
        IntegrityError: a file of the other run is not what its record says.
        StorageFullError: the store took no more bytes.
    """
    store, record, metrics = run.store, layout.model(0), layout.metrics(0)
    evaluation = read_evaluation(source, 0)
    if evaluation is None:
        raise IntegrityError(f"{source.root}/{metrics} is missing: restore it, or remove that run to make it again")
    if not has_model(store, 0):
        run.lease.assert_held()
        for entry in read_model(source, 0).weights:
            _copy(store, source, entry)
        store.create(record, source.read(record))
        append_event(store, BASE_SHARED, {"from": source.root})
    if not store.exists(metrics) and store.read(record) == source.read(record):
        run.lease.assert_held()
        _copy(store, source, evaluation.ranks)
        store.create(metrics, source.read(metrics))


def _copy(store: Store, source: Store, entry: FileEntry) -> None:
    # Replaced whole: a copy that was stopped may have left a part of it under this name.
    store.put(entry.key, read_entry(source, entry, way_out="restore it, or remove that run to make it again"))
