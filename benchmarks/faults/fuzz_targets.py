"""What `fuzz.py` throws bytes at: every reader, the settings, every record, and the loaders of Parquet and weights.

Comes in: an empty folder. Goes out: targets, each with the bytes of valid files to start from and a call that takes
bytes. A call returns, or raises what it may raise for bad input; anything else is a fault of the engine.
"""

import gzip
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from rsir_scale.augmenters.rsir.rows import EVIDENCE
from rsir_scale.config.file import apply_overrides, load_config, resolve
from rsir_scale.data.asked import Asked
from rsir_scale.data.dataset import open_dataset
from rsir_scale.data.readers import read_log
from rsir_scale.data.synthetic import synthesize
from rsir_scale.data.vectors import read_item_vectors
from rsir_scale.loop.local import LocalPhases
from rsir_scale.loop.recursion import run_recursion
from rsir_scale.models.checkpoint import backbone_from
from rsir_scale.models.shards import assemble, pieces_of
from rsir_scale.runs import layout
from rsir_scale.runs.begun import read_config, read_provenance
from rsir_scale.runs.columns import with_evidence
from rsir_scale.runs.commits import read_commit
from rsir_scale.runs.evaluated import read_evaluation
from rsir_scale.runs.events import read_events
from rsir_scale.runs.lease import LeaseRecord
from rsir_scale.runs.leftovers import leftovers
from rsir_scale.runs.lineage import read_columns
from rsir_scale.runs.manifest import read_chain
from rsir_scale.runs.open_run import open_run
from rsir_scale.runs.plan import read_plan
from rsir_scale.runs.status import read_status
from rsir_scale.runs.teacher import read_teacher
from rsir_scale.runs.trained import Teacher, read_model, weights_sha256
from rsir_scale.storage.base import Store, check_key
from rsir_scale.storage.opening import open_store

USERS, ITEMS = 12, 12
ROWS = [(user, (user + step) % ITEMS, 100 + step) for user in range(6) for step in range(4)]
SETTINGS = {
    "model": {"width": 8, "feed_forward": 8, "blocks": 1, "heads": 2},
    "training": {"max_epochs": 1, "loss": "cross_entropy"},
    "generation": {"trials_per_sequence": 1, "start": "prefix"},
    "fidelity": {"rank_threshold": 4},
}
CONFIG = b"""# What differs from the defaults.
data: {path: data/toys, max_length: 50}
model: {width: 64, heads: 2, backbone: sasrec, options: {}}
training:
  learning_rate: 1.0e-3
  preset: strong
generation: {trials_per_sequence: 10, allow_repeats: true}
seed: 7
"""


@dataclass(frozen=True)
class Target:
    """Valid files to start from, and what takes bytes."""

    seeds: tuple[bytes, ...]
    take: Callable[[bytes], object]


def targets(folder: Path) -> dict[str, Target]:
    """All of them; `folder` takes a small dataset, a finished run, and the file that is tried."""
    synthesize(users=USERS, items=ITEMS, out=folder / "data", seed=1)
    dataset = open_dataset(folder / "data")
    config = resolve({"data": {"path": str(folder / "data"), "max_length": 8}, **SETTINGS})
    store = open_store(folder / "run")
    with open_run(store, config, dataset) as run:
        run_recursion(run, LocalPhases())
    return dict([*_logs(folder), *_settings(folder), *_records(store), *_datasets(folder), *_weights(store)])


def _lines(form: str, header: str = "") -> bytes:
    return (header + "".join(form.format(u=user, i=item, t=time) + "\n" for user, item, time in ROWS)).encode()


def _parquet(table: pa.Table, **settings: Any) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink, **settings)
    return sink.getvalue()


def _logs(folder: Path) -> Iterator[tuple[str, Target]]:
    columns = {name: [row[place] for row in ROWS] for place, name in enumerate(("user_id", "item_id", "timestamp"))}
    texts = {name: [str(value) for value in values] for name, values in columns.items()}
    kinds = {
        "sequences": ("log.txt", (_lines("{u} {i} 1 2"),)),
        "pairs": ("log.txt", (_lines("{u} {i}"),)),
        "recbole": ("log.inter", (_lines("{u}\t{i}\t{t}", "user_id:token\titem_id:token\ttimestamp:float\n"),)),
        "amazon-json": ("log.json", (_lines('{{"reviewerID": "{u}", "asin": "{i}", "unixReviewTime": {t}}}'),)),
        "amazon-csv": ("log.csv", (_lines("{u},{i},5.0,{t}"),)),
        "movielens": ("u.data", (_lines("{u}\t{i}\t3\t{t}"),)),
        "csv": ("log.csv", (_lines('{u},"{i}",{t}', "user_id,item_id,timestamp\n"),)),
        "parquet": (
            "log.parquet",
            (
                _parquet(pa.table(columns)),
                _parquet(pa.table(texts), compression="zstd"),
                _parquet(pa.table(texts), compression="none", use_dictionary=False, data_page_version="2.0"),
            ),
        ),
    }
    more = {
        "movielens .dat": ("ratings.dat", "movielens", _lines("{u}::{i}::3::{t}")),
        "movielens .csv": ("r.csv", "movielens", _lines("{u},{i},3,{t}", "userId,movieId,rating,timestamp\n")),
        "csv, gzipped": ("log.csv.gz", "csv", gzip.compress(kinds["csv"][1][0], mtime=0)),
        "pairs, gzipped": ("log.gz", "pairs", gzip.compress(kinds["pairs"][1][0], mtime=0)),
    }

    def reader(name: str, log_format: str) -> Callable[[bytes], object]:
        def read(data: bytes) -> None:
            with TemporaryDirectory(dir=folder) as scratch:
                log = read_log(_written(folder / name, data), Path(scratch), Asked(log_format))
                log.frame.collect(engine="streaming")

        return read

    for log_format, (name, seeds) in kinds.items():
        yield f"log: {log_format}", Target(seeds, reader(name, log_format))
    for title, (name, log_format, seed) in more.items():
        yield f"log: {title}", Target((seed,), reader(name, log_format))


def _settings(folder: Path) -> Iterator[tuple[str, Target]]:
    overrides = (b"model.width=64", b"training={loss: bce}", b"seed=[1, 2]", b"data.path='a b'")
    raw = {"data": {"path": "x"}}
    yield "config", Target((CONFIG,), lambda data: load_config(_written(folder / "config.yaml", data)))
    yield "--set", Target(overrides, lambda data: resolve(apply_overrides(raw, [data.decode("utf-8", "replace")])))


def _records(store: Store) -> Iterator[tuple[str, Target]]:
    def of_run(key: str, read: Callable[[Store], object], *, seed: bytes | None = None) -> tuple[str, Target]:
        good = store.read_if_exists(key)

        def take(data: bytes) -> None:
            path = Path(store.root, key)
            _written(path, data)
            try:
                read(store)
            finally:
                path.unlink() if good is None else path.write_bytes(good)

        return f"record: {key}", Target((seed or good or b"",), take)

    model = read_model(store, 0)
    teacher = Teacher(
        run=store.root,
        iteration=0,
        description=model.description,
        weights=model.weights,
        weights_sha256=weights_sha256(model.weights),
        validation_score=0.5,
        dataset_fingerprint="0" * 64,
    )
    lease = store.read(layout.lease(0))
    yield of_run(layout.model_link(0), read_chain)
    yield of_run(layout.generation_link(0), read_chain)
    yield of_run(layout.model(0), lambda run: read_model(run, 0))
    yield of_run(layout.plan(0), lambda run: read_plan(run, 0))
    yield of_run(layout.commit(0, 0), lambda run: read_commit(run, 0, 0))
    yield of_run(layout.metrics(0), lambda run: read_evaluation(run, 0))
    yield of_run(layout.PROVENANCE, read_provenance)
    yield of_run(layout.RUN_CONFIG, read_config)
    yield of_run(layout.EVENTS, read_events)
    yield of_run(layout.TEACHER, read_teacher, seed=teacher.to_bytes())
    yield of_run("iteration=000/any.json", leftovers, seed=b'{"a": ["b", {"c": null}]}')
    yield "record: status of a manifest", Target((store.read(layout.model_link(1)),), _status(store))
    yield "record: lease", Target((lease,), lambda data: LeaseRecord.from_bytes(data, "lease"))
    keys = (b"iteration=000/metrics.json", b"../x", b"a/b")
    yield "record: key", Target(keys, lambda data: check_key(data.decode("utf-8", "replace"), "root"))


def _status(store: Store) -> Callable[[bytes], object]:
    path = Path(store.root, layout.model_link(1))
    good = path.read_bytes()

    def take(data: bytes) -> None:
        path.write_bytes(data)
        try:
            read_status(store)
        finally:
            path.write_bytes(good)

    return take


def _datasets(folder: Path) -> Iterator[tuple[str, Target]]:
    data, run = folder / "data", open_store(folder / "run")
    dataset = open_dataset(data)

    def of_file(name: str, read: Callable[[], object]) -> tuple[str, Target]:
        path = data / name
        good = path.read_bytes()

        def take(tried: bytes) -> None:
            path.write_bytes(tried)
            try:
                read()
            finally:
                path.write_bytes(good)

        return f"dataset: {name}", Target((good,), take)

    def part(tried: bytes) -> None:
        _written(Path(run.root, "part.parquet"), tried)
        read_columns(run, "part.parquet", with_evidence(EVIDENCE).names)

    key = next(entry.key for entry in read_chain(run)[0].files if entry.kind == "part")
    ids = [str(item) for item in dataset.item_ids()]
    vectors = _parquet(pa.table({"item_id": ids, "vector": np.eye(len(ids), 3).tolist()}))
    yield of_file("dataset.json", lambda: open_dataset(data).meta)
    yield of_file("train/part-00000.parquet", dataset.training_sequences)
    yield of_file("heldout/part-00000.parquet", dataset.held_out)
    yield of_file("items.parquet", dataset.item_ids)
    yield "part of a run", Target((run.read(key),), part)
    yield (
        "item vectors",
        Target((vectors,), lambda tried: read_item_vectors(_written(folder / "v.parquet", tried), dataset.item_ids())),
    )


def _weights(store: Store) -> Iterator[tuple[str, Target]]:
    model = read_model(store, 0)
    seeds = tuple(store.read(entry.key) for entry in model.weights)
    yield "weights", Target(seeds, lambda data: backbone_from(model.description, pieces_of(data)))
    yield "tensors", Target(seeds, lambda data: assemble(pieces_of(data)))


def _written(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path
