"""What a run began with: its resolved settings in `run.yaml`, and in `provenance.json` where and on which data.

Comes in: a run's store. Goes out: validated records, or the run by them, read once for whatever is asked of it; or an
error that names the file. `open_run` writes both.
"""

from pydantic import ValidationError

from rsir_scale.config.augmenters import is_own_class
from rsir_scale.config.settings import Config
from rsir_scale.config.strict_yaml import NotYamlError, parse_yaml
from rsir_scale.data.dataset import open_dataset
from rsir_scale.errors import ConfigError, InputError, IntegrityError, first_fault
from rsir_scale.runs import layout
from rsir_scale.runs.records import Count, Record, Sha256
from rsir_scale.runs.run import Run
from rsir_scale.storage.base import Store

# The marks of a YAML document. What is left of one that lost its end may parse, and mean other settings; runs of
# version 0.1 have no marks.
_START, _END = b"---\n", b"...\n"


class DatasetFacts(Record):
    """Which data a run is of."""

    fingerprint: str
    users: Count
    items: Count
    training_pairs: Count


class Provenance(Record):
    """Where and with what a run began; `item_vectors_sha256` is of the file `model.item_vectors`, None without one."""

    versions: dict[str, str]
    host: dict[str, str | int]
    dataset: DatasetFacts
    item_vectors_sha256: Sha256 | None = None


def is_run(store: Store) -> bool:
    """Whether a run was begun here."""
    return store.exists(layout.RUN_CONFIG)


def read_config(store: Store) -> Config:
    """The resolved config of a run.

    Raises:
        InputError: there is no run here.
        IntegrityError: run.yaml is damaged.
    """
    data = store.read_if_exists(layout.RUN_CONFIG)
    if data is None:
        raise InputError(f"{store.root} holds no {layout.RUN_CONFIG}, so it is no run: name a run directory")
    if data.startswith(_START) and not data.endswith(_END):
        raise IntegrityError(
            f"{store.root}/{layout.RUN_CONFIG} has no end: restore it, or start again in an empty run directory"
        )
    try:
        return Config.model_validate(parse_yaml(data.decode("utf-8")))
    except (UnicodeDecodeError, NotYamlError, ValidationError) as error:
        what = first_fault(error) if isinstance(error, ValidationError) else error
        raise IntegrityError(
            f"{store.root}/{layout.RUN_CONFIG} is not what a run writes ({what}): restore it, or start again in an "
            "empty run directory"
        ) from error


def stored_run(store: Store) -> Run:
    """A run by the settings that it holds, on the dataset that they name.

    Raises:
        InputError: the folder holds no run, or the dataset is not where the run says.
        ConfigError: see `open_dataset`.
        IntegrityError: run.yaml is damaged.
    """
    return _on_its_data(store, read_config(store))


def run_to_load(store: Store, backbone: str | None) -> Run:
    """A run whose model is to be loaded: a class of the user's has to be the one that is named now.

    A run directory may come from anybody, and to import a class is to run code.

    Args:
        store: of the run.
        backbone: `package.module:Class` from the user, not from the run.

    Raises:
        ConfigError: the run has a class, and it is not this one.
        InputError, IntegrityError: see `stored_run`.
    """
    config = read_config(store)
    _refuse_other_backbone(store, config, backbone)
    return _on_its_data(store, config)


def run_to_write(store: Store, *, backbone: str | None, augmenter: str | None) -> Run:
    """A run whose sequences are to be written, or written again; see `run_to_load`.

    Args:
        store: of the run.
        backbone: `package.module:Class` from the user, not from the run.
        augmenter: the same of the class that writes.

    Raises:
        ConfigError: the run has a class, and it is not the one named.
        InputError, IntegrityError: see `stored_run`.
    """
    config = read_config(store)
    _refuse_other_backbone(store, config, backbone)
    wanted = config.generation.augmenter
    if is_own_class(wanted) and wanted != augmenter:
        raise ConfigError(
            f"{store.root} was written by the class {wanted}, and a class is imported only when you name it, not a "
            f"run directory: add --augmenter {wanted} if it is yours"
        )
    return _on_its_data(store, config)


def _refuse_other_backbone(store: Store, config: Config, backbone: str | None) -> None:
    wanted = config.model
    if wanted.is_plugin and wanted.backbone != backbone:
        raise ConfigError(
            f"{store.root} was made with the class {wanted.backbone}, and a class is imported only when you name it, "
            f"not a run directory: add --backbone {wanted.backbone} (in Python backbone=…) if it is yours"
        )


def _on_its_data(store: Store, config: Config) -> Run:
    try:
        return Run(store, open_dataset(config.data.path), config)
    except InputError as error:
        raise InputError(
            f"{error} ({store.root}/{layout.RUN_CONFIG} names it; if it was moved, give `rsir run CONFIG --set "
            f"data.path=NEW --run-dir {store.root}` once, with the run's own CONFIG)"
        ) from error


def check_dataset(run: Run) -> None:
    """See that a run's dataset is the one that it was made from. Raises InputError, IntegrityError."""
    provenance, dataset = read_provenance(run.store), run.dataset
    if provenance is not None and provenance.dataset.fingerprint != dataset.meta.fingerprint:
        raise InputError(
            f"{run.store.root} is a run on the dataset with fingerprint {provenance.dataset.fingerprint}, but "
            f"{dataset.path} holds {dataset.meta.fingerprint}: name the data that the run was made from"
        )


def read_provenance(store: Store) -> Provenance | None:
    """Where the run began; None before it did. Raises IntegrityError, also where a run has lost it."""
    # It is written before the settings.
    begun = is_run(store)
    data = store.read_if_exists(layout.PROVENANCE)
    if data is None and begun:
        raise IntegrityError(
            f"{store.root}/{layout.PROVENANCE} is missing, which says what data the run is of: restore it, or start "
            "again in an empty run directory"
        )
    return None if data is None else Provenance.from_bytes(data, f"{store.root}/{layout.PROVENANCE}")
