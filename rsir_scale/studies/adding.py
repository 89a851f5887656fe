"""Cells of another machine: the finished runs of the same study, taken over.

Comes in: a study and the folder of another one. Goes out: how many runs were copied. Both have to compare the same, on
the same data. The hash of every file that a manifest names is checked while it is copied; what no manifest names stays
behind, and the figures of a cell's lists come along. `run.yaml` comes last: a copy that was stopped does not look
finished, and is made again.
"""

from collections.abc import Iterator

from rsir_scale.errors import LeaseHeldError
from rsir_scale.runs import layout
from rsir_scale.runs.begun import is_run
from rsir_scale.runs.lease import Lease
from rsir_scale.runs.manifest import Manifest, link_key, read_chain
from rsir_scale.runs.records import FileEntry, read_entry
from rsir_scale.storage.base import Store
from rsir_scale.studies.folder import Study, add_seeds, require_same
from rsir_scale.studies.lists import keep_lists, read_lists


def add_cells(study: Study, other: Study) -> tuple[int, int]:
    """Copy the other study's finished cells that this one lacks.

    Returns:
        Cells copied, and finished cells of the other that were left because this study has them, begun or done.

    Raises:
        ConfigError: it is another study.
        IntegrityError: a run of the other is damaged.
        LeaseHeldError: somebody makes one of the cells here now.
    """
    require_same(study.record, other.record, study.store.root)
    finished = [cell for cell in other.cells() if other.is_done(cell)]
    missing = [cell for cell in finished if not is_run(study.run_store(cell))]
    add_seeds(study.store, sorted({cell.seed for cell in missing}))
    for cell in missing:
        copy_run(other.run_store(cell), study.run_store(cell))
        lists = read_lists(other.store, cell)
        if lists is not None:
            keep_lists(study.store, cell.key, lists)
        study.forget_failure(cell)
    return len(missing), len(finished) - len(missing)


def copy_run(source: Store, store: Store) -> None:
    """Copy a finished run, checking every byte that its manifests vouch for. Raises IntegrityError."""
    with Lease(store) as lease:
        if is_run(store):
            raise LeaseHeldError(f"{store.root} was begun meanwhile: add the other study again")
        store.put(layout.PROVENANCE, source.read(layout.PROVENANCE))
        chain = read_chain(source)
        for entry in _entries(chain):
            store.put(entry.key, read_entry(source, entry, way_out="restore it there and add the study again"))
        lease.assert_held()
        for key in _records(source, chain):
            store.put(key, source.read(key))
        for line in source.read_lines(layout.EVENTS):
            store.append_line(layout.EVENTS, line.decode("utf-8", errors="replace"))
        store.put(layout.RUN_CONFIG, source.read(layout.RUN_CONFIG))


def _entries(chain: list[Manifest]) -> Iterator[FileEntry]:
    for manifest in chain:
        yield from manifest.files
    teacher = chain[0].model.teacher
    if teacher is not None:
        yield from teacher.weights


def _records(source: Store, chain: list[Manifest]) -> Iterator[str]:
    """What no manifest hashes, in the order in which it may appear."""
    if chain[0].model.teacher is not None:
        yield layout.TEACHER
    links = (link_key(number) for number in range(2 * len(chain)))
    yield from (key for key in links if source.exists(key))
