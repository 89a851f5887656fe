"""A study's folder: what it compares, which seeds it has, and where its cells lie.

Comes in: a store. Goes out: a `Study`. `study.json` is created once, and a folder that holds another study is refused.
Everything else that counts is in the run directories of the cells, so a study has no state of its own to lose: seeds
are names that are created if absent, and a failure is told until its cell is tried again.
"""

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from pydantic import JsonValue

from rsir_scale.config.effect import effective_settings, fingerprint_of, flatten
from rsir_scale.data.dataset import open_dataset
from rsir_scale.errors import ConfigError, InputError, IntegrityError
from rsir_scale.runs.begun import is_run
from rsir_scale.runs.records import Record, Sha256
from rsir_scale.runs.status import DONE, read_status
from rsir_scale.storage.base import AlreadyExistsError, Store
from rsir_scale.storage.opening import open_store
from rsir_scale.studies.cells import Cell, cells_of, config_of
from rsir_scale.studies.file import StudyFile
from rsir_scale.studies.lists import has_lists

STUDY = "study.json"
FORMAT_VERSION = 1
_SEEDS = "seeds"
_DIFFERENCES_SHOWN = 5


class StudyRecord(Record):
    """What `study.json` holds: the file, and what decides whether two studies are the same.

    `order` keeps the arms in their author's order, which sorted keys lose.
    """

    format_version: int = FORMAT_VERSION
    file: StudyFile
    order: tuple[str, ...]
    compared: dict[str, JsonValue]

    @property
    def fingerprint(self) -> Sha256:
        """SHA-256 of what is compared; seeds, paths and resources are left out."""
        return fingerprint_of(self.compared)


class Failure(Record):
    """Why a cell was not finished the last time; `resumable` says whether the same call may finish it."""

    reason: str
    resumable: bool


@dataclass(frozen=True)
class Study:
    """A study that was begun."""

    store: Store
    record: StudyRecord

    @property
    def file(self) -> StudyFile:
        """What its author wrote."""
        file = self.record.file
        return file.model_copy(update={"arms": {name: file.arms[name] for name in self.record.order}})

    def seeds(self) -> tuple[int, ...]:
        """All seeds that were asked for so far, ascending."""
        names = {key.rpartition("/")[2] for key in self.store.list(_SEEDS)}
        return tuple(sorted(int(name) for name in names if name.isdecimal()))

    def cells(self) -> tuple[Cell, ...]:
        """The cells of all seeds."""
        return cells_of(self.file, self.seeds())

    def run_store(self, cell: Cell) -> Store:
        """The run directory of a cell."""
        return open_store(f"{self.store.root}/{cell.key}")

    def is_done(self, cell: Cell) -> bool:
        """Whether the cell's run is finished. Raises IntegrityError."""
        store = self.run_store(cell)
        return is_run(store) and read_status(store)["state"] == DONE

    def is_made(self, cell: Cell) -> bool:
        """Whether nothing is left to do for the cell: its run is finished, and its lists are described."""
        return self.is_done(cell) and (self.file.cell.where == "ray" or has_lists(self.store, cell))

    def failure(self, cell: Cell) -> Failure | None:
        """Why it failed the last time; None where it did not."""
        key = _failed(cell)
        data = self.store.read_if_exists(key)
        return None if data is None else Failure.from_bytes(data, f"{self.store.root}/{key}")

    def tell_failure(self, cell: Cell, failure: Failure) -> None:
        """Keep why a cell failed."""
        self.store.put(_failed(cell), failure.to_bytes())

    def forget_failure(self, cell: Cell) -> None:
        """The cell is tried again."""
        self.store.delete(_failed(cell))


def record_of(file: StudyFile) -> StudyRecord:
    """What a study file compares, on the data that its datasets hold now. Raises InputError, ConfigError."""
    compared: dict[str, JsonValue] = {"metric": file.metric, "cutoffs": list(file.cutoffs)}
    for name, path in file.datasets.items():
        compared[f"datasets.{name}"] = open_dataset(path).meta.fingerprint
    # Seeds come and go; what a cell is under one of them, it is under all.
    first = next(iter(file.datasets))
    for cell in (each for each in cells_of(file, (0,)) if each.dataset == first):
        config = config_of(file, cell)
        settings = effective_settings(config) | {
            "loop.iterations": config.loop.iterations,
            "loop.patience": config.loop.patience,
            "control": cell.control,
        }
        compared |= flatten({cell.name: settings})
    return StudyRecord(file=file, order=tuple(file.arms), compared=compared)


def begin_study(store: Store, record: StudyRecord, seeds: Sequence[int]) -> Study:
    """Create the folder's study, or take up the same one, and add seeds to it.

    What changes no result may change, such as where a dataset lies, and is written back.

    Raises:
        ConfigError: the folder is another study's.
        InputError: it holds something that is not a study.
    """
    before = read_study(store) if store.exists(STUDY) else None
    if before is None and next(store.list(""), None) is not None:
        raise InputError(f"{store.root} is not a study, and is not empty: name an empty or new folder, or a study's")
    if before is not None:
        require_same(before.record, record, store.root)
        if before.record != record:
            store.put(STUDY, record.to_bytes())
    else:
        store.require_atomic_create()
        try:
            store.create(STUDY, record.to_bytes())
        except AlreadyExistsError:
            require_same(read_study(store).record, record, store.root)
    add_seeds(store, seeds)
    return read_study(store)


def add_seeds(store: Store, seeds: Sequence[int]) -> None:
    """Let the study have these seeds, too."""
    for seed in seeds:
        with suppress(AlreadyExistsError):
            store.create(f"{_SEEDS}/{seed}", b"")


def read_study(store: Store) -> Study:
    """Open the study of a folder. Raises InputError: there is none; IntegrityError: it is damaged."""
    data = store.read_if_exists(STUDY)
    if data is None:
        raise InputError(f"{store.root} holds no {STUDY}, so it is not a study: name the --out of an `rsir study run`")
    record = StudyRecord.from_bytes(data, f"{store.root}/{STUDY}")
    if record.format_version != FORMAT_VERSION:
        raise IntegrityError(
            f"{store.root}/{STUDY} has format_version {record.format_version}; this version reads {FORMAT_VERSION}: "
            "use the version that wrote it"
        )
    return Study(store, record)


def require_same(before: StudyRecord, now: StudyRecord, root: str) -> None:
    """See that two studies compare the same. Raises ConfigError, which names what differs."""
    if before.fingerprint == now.fingerprint:
        return
    old, new = before.compared, now.compared
    changed = [
        f"{key}: {json.dumps(old.get(key))} → {json.dumps(new.get(key))}"
        for key in sorted({*old, *new})
        if old.get(key) != new.get(key)
    ]
    more = f" and {len(changed) - _DIFFERENCES_SHOWN} more" if len(changed) > _DIFFERENCES_SHOWN else ""
    raise ConfigError(
        f"{root} is another study ({'; '.join(changed[:_DIFFERENCES_SHOWN])}{more}): set it back, or name "
        "another folder"
    )


def _failed(cell: Cell) -> str:
    return f"failed/{cell.key}.json"
