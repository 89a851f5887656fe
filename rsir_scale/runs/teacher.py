"""A teacher: the model of another run, weak or strong, that writes the sequences which this run's models learn from.

Comes in: `generation.teacher`. Goes out: before anything is written, a model that fits the run, or a refusal; then a
copy in the run directory, so that the teacher's own run may go. Who a teacher is, its description and the hash of its
weights say, and not the path: another one is refused on resume, the same one may have moved.
"""

import hashlib
from dataclasses import dataclass

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load

from rsir_scale.config.settings import Config
from rsir_scale.data.dataset import PreparedDataset, open_dataset
from rsir_scale.errors import ConfigError, InputError, IntegrityError
from rsir_scale.runs import layout
from rsir_scale.runs.begun import Provenance, is_run, read_config, read_provenance
from rsir_scale.runs.manifest import read_chain
from rsir_scale.runs.records import write_entry
from rsir_scale.runs.run import Run
from rsir_scale.runs.selection import best_iteration
from rsir_scale.runs.trained import Teacher, TrainedModel, has_model, read_model, weights_sha256
from rsir_scale.storage.base import AlreadyExistsError, Store
from rsir_scale.storage.opening import open_store


@dataclass(frozen=True)
class FoundTeacher:
    """A model of another run that fits this one, and what that run began with."""

    store: Store
    iteration: int
    model: TrainedModel
    config: Config
    provenance: Provenance

    @property
    def name(self) -> str:
        """What `generation.teacher` calls it."""
        return f"{self.store.root}@{self.iteration}"

    @property
    def dataset_fingerprint(self) -> str:
        """Of the data that it was trained on."""
        return self.provenance.dataset.fingerprint

    def is_(self, teacher: Teacher) -> bool:
        """Whether it is the model that `teacher` is a copy of."""
        ours = (self.model.description, weights_sha256(self.model.weights))
        return ours == (teacher.description, teacher.weights_sha256)


def find_teacher(config: Config, dataset: PreparedDataset) -> FoundTeacher | None:
    """Find the teacher that the settings name, and see that it fits; None where they name none.

    Raises:
        InputError: there is no run or no such model, it is damaged, or it knows other items.
        ConfigError: it reads fewer items of a context than the run does, or is of a class that no setting names.
    """
    setting = config.generation.teacher
    if setting is None:
        return None
    try:
        found = _open(setting)
        _check_vocabulary(setting, found, dataset)
    except IntegrityError as error:
        raise InputError(f"generation.teacher={setting} is damaged: {error}") from error
    _refuse_unnamed_class(setting, found, config)
    reads = found.model.description.max_length
    if reads < config.data.max_length:
        raise ConfigError(
            f"generation.teacher={setting} reads {reads} items of a context, fewer than data.max_length="
            f"{config.data.max_length}: set data.max_length={reads} or less, or train the teacher with more"
        )
    return found


def settle_teacher(run: Run, begun: Config | None) -> tuple[Config, FoundTeacher | None]:
    """Hold the settings' teacher to the run's own copy, or find one that the run has to take; nothing is written.

    Args:
        run: with the settings of this command.
        begun: the settings that it began with; None before it did.

    Returns:
        The config, its teacher spelled out as `<absolute path>@<iteration>`; and what `adopt` has to copy, None where
        the run has its copy or needs none.

    Raises:
        InputError: see `find_teacher`; or its weights are not what its record says, or no numbers.
        ConfigError: the run was begun with another teacher, or without one.
    """
    store, config = run.store, run.config
    setting, own = config.generation.teacher, read_teacher(store)
    if own is None and begun is not None:
        _refuse_late(run, begun)
    if own is None:
        found = find_teacher(config, run.dataset)
        if found is not None:
            check_weights(found)
        return _naming(config, None if found is None else found.name), found
    name = f"{own.run}@{own.iteration}"
    if setting is None:
        raise ConfigError(
            f"{store.root} was begun with the teacher {name}, and generation.teacher names none: set it to {name}, or "
            "name another run directory"
        )
    if not _is_gone(setting, own):
        found = find_teacher(config, run.dataset)
        if found is not None and not found.is_(own):
            raise ConfigError(_another(store, own, found))
    return _naming(config, name), None


def check_weights(found: FoundTeacher) -> None:
    """See that a teacher's weights are what its record says, and numbers. Raises InputError."""
    for entry in found.model.weights:
        name = f"generation.teacher={found.name}: {entry.key}"
        try:
            data = found.store.read_if_exists(entry.key)
        except IntegrityError as error:
            raise InputError(f"generation.teacher={found.name} is damaged: {error}") from error
        if data is None or _sha256(data) != entry.sha256:
            what = "is missing" if data is None else f"has SHA-256 {_sha256(data)}, its record says {entry.sha256}"
            raise InputError(f"{name} {what}: restore it, or name another teacher")
        try:
            bad = next((key for key, values in load(data).items() if not np.isfinite(values).all()), None)
        except (SafetensorError, KeyError) as error:
            raise InputError(
                f"{name} is no safetensors of numbers that NumPy has ({error}): name another teacher"
            ) from error
        if bad is not None:
            raise InputError(f"{name} holds NaN or infinity in {bad!r}: name another teacher")


def adopt(store: Store, found: FoundTeacher) -> Teacher:
    """Copy a teacher into the run, by the holder of its lease; the run has a teacher from the record on.

    Raises:
        InputError: its weights were changed meanwhile.
        ConfigError: the run took another teacher meanwhile.
        StorageFullError: the store took no more bytes.
    """
    attempt, copies = layout.new_attempt(), []
    for part, entry in enumerate(found.model.weights):
        copy = write_entry(store, layout.teacher_weights(attempt, part), "weights", found.store.read(entry.key))
        if copy.sha256 != entry.sha256:
            raise InputError(f"generation.teacher={found.name}: {entry.key} changed while it was copied: try again")
        copies.append(copy)
    teacher = Teacher(
        run=found.store.root,
        iteration=found.iteration,
        description=found.model.description,
        weights=tuple(copies),
        weights_sha256=weights_sha256(tuple(copies)),
        validation_score=found.model.validation_score,
        dataset_fingerprint=found.dataset_fingerprint,
    )
    try:
        store.create(layout.TEACHER, teacher.to_bytes())
    except AlreadyExistsError:
        own = read_teacher(store)
        if own is None or not found.is_(own):
            raise ConfigError(f"{store.root} took another teacher meanwhile: run the same command again") from None
        return own
    return teacher


def read_teacher(store: Store) -> Teacher | None:
    """The run's copy of its teacher; None where it has none. Raises IntegrityError."""
    data = store.read_if_exists(layout.TEACHER)
    return None if data is None else Teacher.from_bytes(data, f"{store.root}/{layout.TEACHER}")


def _parse(setting: str) -> tuple[Store, int | None]:
    path, at, number = setting.rpartition("@")
    if at and number.isdecimal():
        return open_store(path), int(number)
    return open_store(setting), None


def _open(setting: str) -> FoundTeacher:
    store, asked = _parse(setting)
    provenance = read_provenance(store)
    if not is_run(store) or provenance is None:
        raise InputError(
            f"generation.teacher={setting}: {store.root} is no run: name a run directory, and with @ an iteration"
        )
    iteration = best_iteration(read_chain(store)) if asked is None else asked
    if iteration is None:
        raise InputError(
            f"generation.teacher={setting}: {store.root} has finished no iteration yet: let it run, or name one that "
            "has a model with @"
        )
    if not has_model(store, iteration):
        raise InputError(
            f"generation.teacher={setting}: iteration {iteration} has no model; {_models_of(store)}: name one that has"
        )
    return FoundTeacher(store, iteration, read_model(store, iteration), read_config(store), provenance)


def _models_of(store: Store) -> str:
    count = 0
    while has_model(store, count):
        count += 1
    return f"iterations 0..{count - 1} have" if count else "none has yet"


def _refuse_unnamed_class(setting: str, found: FoundTeacher, config: Config) -> None:
    teacher = found.model.description.model
    if teacher.is_plugin and teacher.backbone != config.model.backbone:
        raise ConfigError(
            f"generation.teacher={setting} is of the class {teacher.backbone}, and a class is imported only when "
            f"model.backbone names it, and it is {config.model.backbone}: take one of that class, or a built-in one"
        )


def _check_vocabulary(setting: str, found: FoundTeacher, dataset: PreparedDataset) -> None:
    count, items = found.model.description.item_count, dataset.meta.items
    way_out = "name a teacher of a run on this dataset, or on one with the same items in the same order"
    if count != items:
        raise InputError(
            f"generation.teacher={setting} knows {count} items, the dataset {dataset.path} has {items}: {way_out}"
        )
    if found.dataset_fingerprint == dataset.meta.fingerprint:
        return
    theirs = _dataset_of(setting, found)
    differing = np.flatnonzero(theirs.item_ids() != dataset.item_ids())
    if len(differing):
        first = int(differing[0])
        raise InputError(
            f"generation.teacher={setting} knows other items than the dataset {dataset.path}: {len(differing)} of "
            f"{items} differ, first item_index {first + 1}, which is {theirs.item_ids()[first]!r} there and "
            f"{dataset.item_ids()[first]!r} here: {way_out}"
        )


def _dataset_of(setting: str, found: FoundTeacher) -> PreparedDataset:
    path = found.config.data.path
    try:
        theirs = open_dataset(path)
    except InputError as error:
        raise InputError(
            f"generation.teacher={setting} was trained on other data, and its items cannot be compared with this "
            f"dataset's: {error}"
        ) from error
    if theirs.meta.fingerprint != found.dataset_fingerprint:
        raise InputError(
            f"generation.teacher={setting} was trained on data with fingerprint {found.dataset_fingerprint}, but "
            f"{path} holds {theirs.meta.fingerprint}, so its items cannot be compared: put its data back"
        )
    return theirs


def _refuse_late(run: Run, begun: Config) -> None:
    store, setting = run.store, run.config.generation.teacher
    if begun.generation.teacher is not None:
        raise IntegrityError(f"{store.root}/{layout.TEACHER} is missing, and the run has a teacher: restore it")
    if setting is not None:
        raise ConfigError(
            f"{store.root} was begun without a teacher, and generation.teacher={setting} names one: leave it out, or "
            "name another run directory"
        )


def _is_gone(setting: str, own: Teacher) -> bool:
    """Whether the setting names the place that the run's copy came from, and no run is there any more."""
    there, iteration = _parse(setting)
    return not is_run(there) and there.root == own.run and iteration in (None, own.iteration)


def _another(store: Store, own: Teacher, found: FoundTeacher) -> str:
    digest = weights_sha256(found.model.weights)
    what = f"weights with SHA-256 {digest}" if digest != own.weights_sha256 else "another description"
    return (
        f"{store.root} was begun with the teacher {own.run}@{own.iteration} with SHA-256 {own.weights_sha256}; "
        f"{found.name} has {what}: name the same teacher (its iteration with @), or another run directory"
    )


def _naming(config: Config, teacher: str | None) -> Config:
    generation = config.generation.model_copy(update={"teacher": teacher})
    return config.model_copy(update={"generation": generation})


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
