"""The model of an iteration, in the run directory.

Weights are written under an attempt's name; `model/model.json`, created only if absent, then says what the model is and
which weights are its own. The iteration has a model when that file exists, and only one ever counts.
"""

from collections.abc import Callable

from rsir_scale.errors import IntegrityError
from rsir_scale.models.base import Backbone
from rsir_scale.models.checkpoint import ModelDescription, load_backbone
from rsir_scale.runs import layout
from rsir_scale.runs.open_run import read_config
from rsir_scale.runs.records import FileEntry, Record, write_entry
from rsir_scale.storage import AlreadyExistsError, Store, sha256_of


class TrainedModel(Record):
    """What `model/model.json` holds.

    Attributes:
        description: how to build the backbone.
        weights: the safetensors object and its hash.
        updates: optimiser updates done; best_update: where the kept weights stood.
        validation_score: NDCG@20 on the validation items at that update.
        train_s: wall time of the fit, over all starts.
    """

    description: ModelDescription
    weights: FileEntry
    updates: int
    best_update: int
    validation_score: float
    train_s: float


def publish_weights(store: Store, iteration: int, data: bytes, *, attempt: str) -> FileEntry:
    """Write weights under the attempt's own name; they count once a `TrainedModel` names them."""
    return write_entry(store, layout.weights(iteration, attempt), "weights", data)


def publish_model(store: Store, iteration: int, model: TrainedModel) -> TrainedModel:
    """Make a model the iteration's own, and return the one that is: this one, or an earlier attempt's."""
    try:
        store.create(layout.model(iteration), model.to_bytes())
    except AlreadyExistsError:
        return read_model(store, iteration)
    return model


def has_model(store: Store, iteration: int) -> bool:
    """Whether the iteration's training is done."""
    return store.exists(layout.model(iteration))


def read_model(store: Store, iteration: int) -> TrainedModel:
    """Read the record. Raises ObjectMissingError, IntegrityError."""
    key = layout.model(iteration)
    return TrainedModel.from_bytes(store.read(key), f"{store.root}/{key}")


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
        IntegrityError: the weights are not the ones that the record names, or not finite, or the record names a class
            of the user's that the run's settings do not.
        ConfigError: the class of the user's cannot be imported here.
    """
    model = read_model(store, iteration)
    named = model.description.model
    if named.is_plugin and read_config(store).model.backbone != named.backbone:
        raise IntegrityError(
            f"{store.root}/{layout.model(iteration)} names the class {named.backbone}, which {layout.RUN_CONFIG} does "
            "not, and so nothing of it is imported: restore the one that was changed"
        )
    digest, _ = sha256_of(store, model.weights.key)
    if digest != model.weights.sha256:
        raise IntegrityError(
            f"{store.root}/{model.weights.key} has SHA-256 {digest}, its record says {model.weights.sha256}: restore it"
        )
    description = model.description.model_dump_json().encode()
    return load_backbone(description, store.read(model.weights.key), device=device, item_name=item_name)
