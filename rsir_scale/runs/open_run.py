"""Begin a run in an empty folder, or take an existing one up again; refuse whatever would mix two runs.

Comes in: a store, the resolved config, the dataset. Goes out: a `HeldRun`, whose lease is held while the block lasts.
`run.yaml` keeps the resolved config and `provenance.json` where the run began (versions, dataset, host; no secrets). A
resume under other settings or other data is refused, naming each key that differs; settings that change no result may
change, and are written back. Everything is compared before the lease is taken, so that a refused call leaves no trace.
"""

import os
import platform
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import psutil
import yaml

from rsir_scale.config.effect import effective_settings
from rsir_scale.config.settings import Config
from rsir_scale.config.strict_yaml import MAX_BYTES
from rsir_scale.data.dataset import PreparedDataset
from rsir_scale.data.vectors import sha256_of_vectors
from rsir_scale.errors import ConfigError, InputError, IntegrityError, ResumableError
from rsir_scale.runs import layout
from rsir_scale.runs.begun import DatasetFacts, Provenance, is_run, read_config, read_provenance
from rsir_scale.runs.lease import Clock, Lease
from rsir_scale.runs.plan import check_files
from rsir_scale.runs.run import Run
from rsir_scale.runs.teacher import adopt, read_teacher, settle_teacher
from rsir_scale.storage.base import AlreadyExistsError, Store, is_temporary

_PACKAGES = ("rsir-scale", "torch", "ray", "numpy", "polars", "pyarrow", "safetensors")


@dataclass(frozen=True)
class HeldRun(Run):
    """A run that this process drives. `facts` are recorded deviations, for the manifest."""

    lease: Lease
    facts: tuple[str, ...]


@contextmanager
def open_run(store: Store, config: Config, dataset: PreparedDataset, *, clock: Clock = time.time) -> Iterator[HeldRun]:
    """Create or open the run directory and hold its lease.

    Raises:
        InputError: the folder holds something that is no run, the teacher does not fit, or the data lie in other files.
        ConfigError: the run has other settings, other data or another teacher, or the store cannot create atomically.
        LeaseHeldError: another driver works on it.
        ResumableError: another driver took over meanwhile.
        IntegrityError: out of the block, as it was raised there, while the lease is held.
    """
    _check_folder(store)
    store.require_atomic_create()
    stored = _stored(store)
    config, found = settle_teacher(Run(store, dataset, config), stored)
    run = Run(store, dataset, config)
    vectors = None if config.model.item_vectors is None else sha256_of_vectors(config.model.item_vectors)
    _check_same(run, stored, vectors)
    as_yaml = _to_yaml(config)
    check_files(run)
    with Lease(store, clock=clock) as lease:
        if stored is None:
            # Another driver may have begun the run meanwhile.
            stored = _stored(store)
            _check_same(run, stored, vectors)
        provenance = _begin(run, vectors)
        if found is not None:
            adopt(store, found)
        if stored is None:
            _create(store, layout.RUN_CONFIG, as_yaml)
        elif stored != config:
            lease.assert_held()
            store.put(layout.RUN_CONFIG, as_yaml)
        facts = (*_changed_versions(provenance.versions), *_teacher_facts(run))
        try:
            yield HeldRun(store=store, dataset=dataset, config=config, lease=lease, facts=facts)
        except IntegrityError:
            # What an overtaken driver misses is what others cleaned away: of the run nothing is broken.
            lease.assert_held()
            raise


def _check_folder(store: Store) -> None:
    if _is_begun(store):
        return
    # A driver in its first moments, or one that died in them, has a lease and perhaps a temporary object.
    strange = next((key for key in store.list("") if not (key.startswith("lease/") or is_temporary(key))), None)
    # What was found may be the run of a driver that began it since.
    if strange is not None and not _is_begun(store):
        raise InputError(
            f"{store.root} is no run, but holds {strange}: name an empty or new folder, or an existing run directory"
        )


def _is_begun(store: Store) -> bool:
    return store.exists(layout.PROVENANCE) or is_run(store)


def _stored(store: Store) -> Config | None:
    """The settings that the run began with; None before it did."""
    return read_config(store) if is_run(store) else None


def _check_same(run: Run, stored: Config | None, vectors: str | None) -> None:
    """Raise ConfigError where the store holds another run than this: other data, settings or vectors."""
    store, config, dataset = run.store, run.config, run.dataset
    provenance = read_provenance(store)
    if provenance is not None and provenance.dataset.fingerprint != dataset.meta.fingerprint:
        raise ConfigError(
            f"{store.root} is a run on the dataset with fingerprint {provenance.dataset.fingerprint}; "
            f"data.path={config.data.path} holds {dataset.meta.fingerprint}: name the same data, or "
            "another run directory"
        )
    if stored is None:
        return
    before, now = effective_settings(stored), effective_settings(config)
    changed = [
        f"{key}: {before.get(key)!r} → {now.get(key)!r}"
        for key in sorted({*before, *now})
        if before.get(key) != now.get(key)
    ]
    if changed:
        raise ConfigError(
            f"{store.root} is a run with other settings ({'; '.join(changed)}): set them back, or name another run "
            "directory"
        )
    known = None if provenance is None else provenance.item_vectors_sha256
    if known is not None and known != vectors:
        raise ConfigError(
            f"{store.root} began with other item vectors (SHA-256 {known}) than model.item_vectors="
            f"{config.model.item_vectors} holds now ({vectors}): put the file back, or name another run directory"
        )


def _begin(run: Run, vectors: str | None) -> Provenance:
    provenance = read_provenance(run.store)
    if provenance is not None:
        return provenance
    meta = run.dataset.meta
    provenance = Provenance(
        versions=_versions(),
        host={
            "system": platform.platform(),
            "cpus": os.cpu_count() or 0,
            "memory_bytes": psutil.virtual_memory().total,
        },
        dataset=DatasetFacts(
            fingerprint=meta.fingerprint, users=meta.users, items=meta.items, training_pairs=meta.training_pairs
        ),
        item_vectors_sha256=vectors,
    )
    _create(run.store, layout.PROVENANCE, provenance.to_bytes())
    return provenance


def _create(store: Store, key: str, data: bytes) -> None:
    """Write what a run begins with, once: a driver that was silent for long must not put its own in its place."""
    try:
        store.create(key, data)
    except AlreadyExistsError as error:
        raise ResumableError(
            f"{store.root}/{key}: another driver began this run meanwhile: let it finish, or stop it and run the same "
            "command again"
        ) from error


def _teacher_facts(run: Run) -> tuple[str, ...]:
    teacher = read_teacher(run.store)
    if teacher is None or teacher.dataset_fingerprint == run.dataset.meta.fingerprint:
        return ()
    fact = f"the teacher was trained on other data, with fingerprint {teacher.dataset_fingerprint}"
    return (f"{fact}: what is held out here may have been in it",)


def _to_yaml(config: Config) -> bytes:
    values = config.model_dump(mode="json")
    text: Any = yaml.safe_dump(values, sort_keys=False, allow_unicode=True, explicit_start=True, explicit_end=True)
    data = str(text).encode()
    if len(data) > MAX_BYTES:
        raise ConfigError(
            f"the settings take {len(data)} bytes when all are spelled out, and {layout.RUN_CONFIG} holds at most "
            f"{MAX_BYTES}: shorten model.options, or let your class read a file"
        )
    return data


def _versions() -> dict[str, str]:
    found = {"python": ".".join(map(str, sys.version_info[:3]))}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _changed_versions(before: dict[str, str]) -> tuple[str, ...]:
    now = _versions()
    return tuple(
        f"{name} was {before.get(name)} when the run began and is {now.get(name)} now"
        for name in sorted({*before, *now})
        if before.get(name) != now.get(name)
    )
