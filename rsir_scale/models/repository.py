"""The model of an iteration, in the run directory: weights in files of bounded size, loaded one at a time.

The record that names them is `runs/trained.py`'s; what writes an iteration's sequences is decided here, once.
"""

from collections.abc import Mapping, Sequence

from torch import Tensor

from rsir_scale.config.effect import flatten
from rsir_scale.config.settings import Config
from rsir_scale.errors import InputError, IntegrityError, shown
from rsir_scale.models.base import Backbone
from rsir_scale.models.checkpoint import backbone_from, describe
from rsir_scale.models.shards import SHARD_BYTES, read_pieces, write_shards
from rsir_scale.runs import layout
from rsir_scale.runs.records import FileEntry
from rsir_scale.runs.run import Run
from rsir_scale.runs.teacher import FoundTeacher, read_teacher
from rsir_scale.runs.trained import ModelDescription, read_model
from rsir_scale.storage.base import ObjectMissingError, Store


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


def load_trained(run: Run, iteration: int, *, device: str = "cpu") -> Backbone:
    """Load an iteration's backbone in evaluation mode.

    Args:
        run: the run; its settings say what the model must be.
        iteration: whose model it is.
        device: where it goes.

    Raises:
        ObjectMissingError: the iteration has no model.
        IntegrityError: the weights are not the ones that the record names, or not finite, or the record describes
            another model than the run's settings do.
        ConfigError: the class of the user's cannot be imported here.
    """
    model, key = read_model(run.store, iteration), layout.model(iteration)
    _refuse_unnamed_class(run.store, run.config, model.description, key)
    _refuse_other_model(run.store, model.description, describe(run.config, run.dataset), key)
    return _loaded(run, model.description, model.weights, device)


def load_writing_model(run: Run, iteration: int, *, device: str = "cpu") -> Backbone:
    """Load what writes an iteration's sequences: the run's teacher, or theta_k where it has none.

    Arguments and errors as of `load_trained`.
    """
    if run.config.generation.teacher is None:
        return load_trained(run, iteration, device=device)
    teacher, key = read_teacher(run.store), layout.TEACHER
    if teacher is None:
        raise ObjectMissingError(f"{run.store.root}/{key} is missing, and the run has a teacher: restore it")
    _refuse_unnamed_class(run.store, run.config, teacher.description, key)
    return _loaded(run, teacher.description, teacher.weights, device)


def try_teacher(found: FoundTeacher) -> None:
    """Load a teacher where it lies, before a run takes it.

    Raises:
        InputError: it cannot be loaded, or is not the model that its own run's settings describe.
    """
    model, store, key = found.model, found.store, layout.model(found.iteration)
    try:
        expected = ModelDescription(
            model=found.config.model,
            item_count=found.provenance.dataset.items,
            max_length=found.config.data.max_length,
        )
        _refuse_unnamed_class(store, found.config, model.description, key)
        _refuse_other_model(store, model.description, expected, key)
        backbone_from(model.description, read_pieces(store, model.weights))
    except IntegrityError as error:
        raise InputError(
            f"generation.teacher={found.name} cannot be loaded: {error}, or name another teacher"
        ) from error


def _loaded(run: Run, description: ModelDescription, weights: Sequence[FileEntry], device: str) -> Backbone:
    pieces = read_pieces(run.store, weights)
    return backbone_from(description, pieces, device=device, item_name=run.dataset.item_name)


def _refuse_other_model(store: Store, described: ModelDescription, expected: ModelDescription, key: str) -> None:
    """Raise IntegrityError where a record describes another model than the run trains: nothing of it is built."""
    found, wanted = (flatten(each.model_dump(mode="json")) for each in (described, expected))
    other = next((name for name in sorted({*found, *wanted}) if found.get(name) != wanted.get(name)), None)
    if other is not None:
        raise IntegrityError(
            f"{store.root}/{key} describes a model with {other}={shown(found.get(other))}, but "
            f"{layout.RUN_CONFIG} and its data one with {shown(wanted.get(other))}: restore what was changed"
        )


def _refuse_unnamed_class(store: Store, config: Config, described: ModelDescription, key: str) -> None:
    """Raise IntegrityError where a record names a class of the user's that the run's settings do not."""
    named = described.model
    if named.is_plugin and config.model.backbone != named.backbone:
        raise IntegrityError(
            f"{store.root}/{key} names the class {named.backbone}, which {layout.RUN_CONFIG} does not, and so nothing "
            "of it is imported: restore the one that was changed"
        )
