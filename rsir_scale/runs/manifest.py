"""The manifest: an iteration exists when its manifest exists.

Comes in: everything that an iteration made, by hash. Goes out: one JSON file, created only if absent, written last,
that names the hash of its parent: a chain from theta_0 on. It records what results mean: resolved settings beside those
that the user wrote, and `facts`, each deviation from what was asked (CPU for GPU, fewer workers), so that none is
silent. The last iteration writes no sequences; where `loop.iterations` is raised later, they come as an extension, a
link of the same chain between two manifests.
"""

import hashlib

from pydantic import Field, JsonValue

from rsir_scale.errors import IntegrityError, ResumableError
from rsir_scale.runs import layout
from rsir_scale.runs.lease import Lease
from rsir_scale.runs.records import Count, FileEntry, Record, Sha256
from rsir_scale.runs.trained import Teacher
from rsir_scale.storage.base import AlreadyExistsError, Store

FORMAT_VERSION = 3  # since then an augmenter is named, and rows may replace their source


class Generation(Record):
    """What theta_k wrote. `rows`, `pairs` and `content_sha256` are of what stayed after duplicates were dropped."""

    plan_sha256: Sha256
    parts: Count
    sources: Count
    rows: Count
    pairs: Count
    dropped: Count
    replaced: Count = Field(default=0, description="sources that the rows stand in place of from D_{k+1} on")
    replaced_pairs: Count = Field(default=0, description="training pairs of these sources")
    content_sha256: Sha256
    counters: dict[str, Count]
    encoders: tuple[str, ...] = Field(default=(), description="what encoded the contexts, each named once")
    searches: tuple[str, ...] = Field(default=(), description="what scanned the items, each named once")
    processors: tuple[str, ...] = Field(default=(), description="what that ran on, each named once")


class Manifest(Record):
    """All that belongs to one iteration."""

    format_version: int = FORMAT_VERSION
    iteration: Count
    parent_sha256: Sha256 | None
    config_fingerprint: Sha256
    settings: dict[str, JsonValue]
    explicit: tuple[str, ...]
    dataset_fingerprint: str
    files: tuple[FileEntry, ...]
    teacher: Teacher | None = Field(default=None, description="what wrote, where it was not the iteration's own model")
    generation: Generation | None
    metrics: dict[str, float]
    timings: dict[str, float]
    facts: tuple[str, ...] = ()


class Extension(Record):
    """What an iteration wrote after its manifest, because `loop.iterations` was raised."""

    iteration: Count
    parent_sha256: Sha256 = Field(description="of the iteration's own manifest")
    files: tuple[FileEntry, ...]
    generation: Generation
    timings: dict[str, float]
    facts: tuple[str, ...] = ()


def write_manifest(store: Store, manifest: Manifest, lease: Lease) -> None:
    """Make the iteration exist; called last, by the holder of the lease.

    Raises:
        ResumableError: another driver took the run over, or finished this iteration first.
    """
    _create(store, layout.manifest(manifest.iteration), manifest, lease)


def write_extension(store: Store, extension: Extension, lease: Lease) -> None:
    """Add sequences to an iteration that existed without any. Raises as `write_manifest` does."""
    _create(store, layout.extension(extension.iteration), extension, lease)


def read_manifest(store: Store, iteration: int) -> Manifest:
    """The manifest of an iteration that exists, extended if it was. Raises ObjectMissingError, IntegrityError."""
    manifest, _ = _read_link(store, iteration, store.read(layout.manifest(iteration)))
    return manifest


def manifest_sha256(store: Store, iteration: int) -> str:
    """What an iteration's extension has to name as its parent. Raises ObjectMissingError."""
    return hashlib.sha256(store.read(layout.manifest(iteration))).hexdigest()


def parent_sha256(store: Store, iteration: int) -> str | None:
    """What the manifest of `iteration` has to name as its parent; None for the first. Raises as `read_manifest`."""
    if not iteration:
        return None
    return _read_link(store, iteration - 1, store.read(layout.manifest(iteration - 1)))[1]


def read_chain(store: Store) -> list[Manifest]:
    """The manifests of all iterations that exist, from 0 on, each checked against its parent, extended if they were.

    Raises:
        IntegrityError: one is damaged, out of place, names another parent, or belongs to other data or settings.
    """
    manifests: list[Manifest] = []
    parent: str | None = None
    while (data := store.read_if_exists(layout.manifest(len(manifests)))) is not None:
        manifest, link = _read_link(store, len(manifests), data)
        _check_link(store, manifest, parent, manifests)
        manifests.append(manifest)
        parent = link
    require_no_later(store, len(manifests))
    return manifests


def require_no_later(store: Store, missing: int) -> None:
    """See that a chain ends where its next manifest is missing. Raises IntegrityError where one comes after it."""
    if store.exists(layout.manifest(missing + 1)):
        raise IntegrityError(
            f"{store.root}/{layout.manifest(missing)} is missing, and the one after it is there: restore it with all "
            f"of {layout.folder(missing)}, or remove what comes after it to make it again"
        )


def combined_digest(manifests: list[Manifest]) -> str | None:
    """The committed digest of a run: over the content hashes of all its iterations; None before the first manifest."""
    if not manifests:
        return None
    contents = [manifest.generation.content_sha256 for manifest in manifests if manifest.generation is not None]
    return hashlib.sha256("".join(contents).encode()).hexdigest()


def _create(store: Store, key: str, record: Manifest | Extension, lease: Lease) -> None:
    lease.assert_held()
    try:
        store.create(key, record.to_bytes())
    except AlreadyExistsError as error:
        raise ResumableError(
            f"{store.root}: iteration {record.iteration} was finished by another driver: run the same command again"
        ) from error


def _read_link(store: Store, iteration: int, data: bytes) -> tuple[Manifest, str]:
    """A manifest with its extension, if any, and the hash that the next manifest names."""
    manifest = _parse(store, iteration, data)
    link = hashlib.sha256(data).hexdigest()
    if manifest.generation is not None:
        return manifest, link
    key = layout.extension(iteration)
    added = store.read_if_exists(key)
    if added is None:
        return manifest, link
    extension = Extension.from_bytes(added, f"{store.root}/{key}")
    if (extension.iteration, extension.parent_sha256) != (iteration, link):
        raise IntegrityError(f"{store.root}/{key} does not continue the iteration's manifest: restore one of the two")
    _check_keys(store, iteration, extension.files)
    extended = manifest.model_copy(
        update={
            "files": manifest.files + extension.files,
            "generation": extension.generation,
            "timings": manifest.timings | extension.timings,
            "facts": manifest.facts + extension.facts,
        }
    )
    return extended, hashlib.sha256(added).hexdigest()


def _parse(store: Store, iteration: int, data: bytes) -> Manifest:
    name = f"{store.root}/{layout.manifest(iteration)}"
    manifest = Manifest.from_bytes(data, name)
    if manifest.format_version != FORMAT_VERSION:
        raise IntegrityError(
            f"{name} has format_version {manifest.format_version}; this version reads {FORMAT_VERSION}: use the "
            "version that wrote it, or start again in an empty run directory"
        )
    _check_keys(store, iteration, manifest.files)
    return manifest


def _check_keys(store: Store, iteration: int, files: tuple[FileEntry, ...]) -> None:
    prefix = f"{layout.folder(iteration)}/"
    for entry in files:
        if not entry.key.startswith(prefix):
            raise IntegrityError(
                f"{store.root}: a manifest of iteration {iteration} names {entry.key}, which is not the iteration's "
                "own: restore the manifest"
            )


def _check_link(store: Store, manifest: Manifest, parent: str | None, earlier: list[Manifest]) -> None:
    name = f"{store.root}/{layout.manifest(len(earlier))}"
    if manifest.iteration != len(earlier):
        raise IntegrityError(f"{name} is of iteration {manifest.iteration}: restore the one that was written there")
    if manifest.parent_sha256 != parent:
        raise IntegrityError(
            f"{name} names parent {manifest.parent_sha256}, but the manifest before it has SHA-256 {parent}: one of "
            "the two was changed; restore it"
        )
    if earlier and (manifest.config_fingerprint, manifest.dataset_fingerprint) != (
        earlier[0].config_fingerprint,
        earlier[0].dataset_fingerprint,
    ):
        raise IntegrityError(f"{name} belongs to other settings or other data than iteration 0: restore it")
