"""The model of an iteration, in the run directory: weights in files of bounded size, loaded one at a time.

The record that names them is `runs/trained.py`'s; what writes an iteration's sequences is decided here, once.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor

from rsir_scale.config.effect import flatten
from rsir_scale.config.settings import GenerationConfig
from rsir_scale.errors import InputError, IntegrityError, shown
from rsir_scale.models.base import Backbone
from rsir_scale.models.checkpoint import backbone_from
from rsir_scale.models.shards import SHARD_BYTES, read_pieces, write_shards
from rsir_scale.runs import layout
from rsir_scale.runs.begun import is_run, read_config, read_provenance
from rsir_scale.runs.records import FileEntry
from rsir_scale.runs.teacher import FoundTeacher, read_teacher
from rsir_scale.runs.trained import ModelDescription, read_model
from rsir_scale.storage.base import ObjectMissingError, Store


@dataclass(frozen=True)
class WritingModel:
    """The record of what writes an iteration's sequences: where it stands, how to build it, and its weights."""

    key: str
    description: ModelDescription
    weights: tuple[FileEntry, ...]


def publish_weights(
    store: Store, iteration: int, weights: Mapping[str, Tensor], *, attempt: str, shard_bytes: int = SHARD_BYTES
) -> tuple[FileEntry, ...]:
    """Write weights under the attempt's own name; they count once a `TrainedModel` names them.

    Args:
        store: of the run.
        iteration: whose model it is.
        weights: by name, as in the backbone's `state_dict`.
        attempt: names the files.
        shard_bytes: bytes of weights in one file, about.
    """
    return write_shards(
        store,
        weights,
        key=lambda part: layout.weights(iteration, attempt, part),
        kind="weights",
        shard_bytes=shard_bytes,
    )


def load_trained(
    store: Store, iteration: int, *, device: str = "cpu", item_name: Callable[[int], str] | None = None
) -> Backbone:
    """Load an iteration's backbone in evaluation mode.

    Args:
        store: of the run.
        iteration: whose model it is.
        device: where it goes.
        item_name: what the user calls an item, by its index, for errors.

    Raises:
        ObjectMissingError: the iteration has no model.
        IntegrityError: the weights are not the ones that the record names, or not finite, or the record describes
            another model than the run's settings do.
        ConfigError: the class of the user's cannot be imported here.
    """
    model = read_model(store, iteration)
    _refuse_other_model(store, model.description, layout.model(iteration))
    return backbone_from(model.description, read_pieces(store, model.weights), device=device, item_name=item_name)


def read_writing_model(store: Store, config: GenerationConfig, iteration: int) -> WritingModel:
    """Say what writes an iteration's sequences: the run's teacher, or theta_k where it has none.

    Raises:
        ObjectMissingError: there is no such model.
        IntegrityError: its record is damaged.
    """
    if config.teacher is None:
        model = read_model(store, iteration)
        return WritingModel(layout.model(iteration), model.description, model.weights)
    teacher = read_teacher(store)
    if teacher is None:
        raise ObjectMissingError(f"{store.root}/{layout.TEACHER} is missing, and the run has a teacher: restore it")
    return WritingModel(layout.TEACHER, teacher.description, teacher.weights)


def load_writing_model(
    store: Store,
    config: GenerationConfig,
    iteration: int,
    *,
    device: str = "cpu",
    item_name: Callable[[int], str] | None = None,
) -> Backbone:
    """Load what writes an iteration's sequences, and checks them; arguments and errors as of `load_trained`."""
    model = read_writing_model(store, config, iteration)
    if model.key == layout.TEACHER:
        _refuse_unnamed_class(store, model.description, model.key)
    else:
        _refuse_other_model(store, model.description, model.key)
    return backbone_from(model.description, read_pieces(store, model.weights), device=device, item_name=item_name)


def try_teacher(found: FoundTeacher) -> None:
    """Load a teacher where it lies, before a run takes it.

    Raises:
        InputError: it cannot be loaded, or is not the model that its own run's settings describe.
    """
    model, store = found.model, found.store
    try:
        _refuse_other_model(store, model.description, layout.model(found.iteration))
        backbone_from(model.description, read_pieces(store, model.weights))
    except IntegrityError as error:
        raise InputError(
            f"generation.teacher={found.name} cannot be loaded: {error}, or name another teacher"
        ) from error


def _refuse_other_model(store: Store, description: ModelDescription, key: str) -> None:
    """Raise IntegrityError where a record describes another model than the run trains: nothing of it is built."""
    _refuse_unnamed_class(store, description, key)
    if not is_run(store):
        return
    config, provenance = read_config(store), read_provenance(store)
    expected = ModelDescription(
        model=config.model,
        item_count=description.item_count if provenance is None else provenance.dataset.items,
        max_length=config.data.max_length,
    )
    found, wanted = (flatten(described.model_dump(mode="json")) for described in (description, expected))
    other = next((name for name in sorted({*found, *wanted}) if found.get(name) != wanted.get(name)), None)
    if other is not None:
        raise IntegrityError(
            f"{store.root}/{key} describes a model with {other}={shown(found.get(other))}, but "
            f"{layout.RUN_CONFIG} and {layout.PROVENANCE} one with {shown(wanted.get(other))}: restore what was changed"
        )


def _refuse_unnamed_class(store: Store, description: ModelDescription, key: str) -> None:
    """Raise IntegrityError where a record names a class of the user's that the run's settings do not."""
    named = description.model
    if named.is_plugin and read_config(store).model.backbone != named.backbone:
        raise IntegrityError(
            f"{store.root}/{key} names the class {named.backbone}, which {layout.RUN_CONFIG} does not, and so nothing "
            "of it is imported: restore the one that was changed"
        )
