"""The manifests: an iteration is two links of a chain, and exists when the first of them does.

Comes in: everything that an iteration made, by hash. Goes out: two JSON files, each created only if absent, written
last, and naming the hash of the link before it: theta_k's, once it is trained and evaluated, and its generation's, once
duplicates are settled. The chain ends with the last theta_k, and goes on from there where `loop.iterations` is raised.
Links record what results mean: resolved settings beside those that the user wrote, and `facts`, each deviation from
what was asked (CPU for GPU, fewer workers), so that none is silent.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from pydantic import Field, JsonValue

from rsir_scale.errors import IntegrityError, ResumableError
from rsir_scale.runs import layout
from rsir_scale.runs.lease import Lease
from rsir_scale.runs.records import Count, FileEntry, Record, Sha256
from rsir_scale.runs.trained import Teacher
from rsir_scale.storage.base import AlreadyExistsError, Store

FORMAT_VERSION = 3  # since then an augmenter is named, rows may replace their source, and an iteration has two links


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


class Link(Record):
    """What every link of the chain says."""

    format_version: int = FORMAT_VERSION
    iteration: Count
    parent_sha256: Sha256 | None = Field(default=None, description="of the link before it; `write_link` fills it in")
    files: tuple[FileEntry, ...]
    timings: dict[str, float]
    facts: tuple[str, ...] = ()


class ModelLink(Link):
    """theta_k, and what it was made from."""

    config_fingerprint: Sha256
    settings: dict[str, JsonValue]
    explicit: tuple[str, ...]
    dataset_fingerprint: str
    teacher: Teacher | None = Field(default=None, description="what writes, where it is not the iteration's own model")
    metrics: dict[str, float]


class GenerationLink(Link):
    """What theta_k, or the teacher, wrote."""

    generation: Generation


@dataclass(frozen=True)
class Manifest:
    """All that is recorded of one iteration: its links; `written` is None until its generation is settled."""

    model: ModelLink
    written: GenerationLink | None = None

    @property
    def iteration(self) -> int:
        """Which one."""
        return self.model.iteration

    @property
    def generation(self) -> Generation | None:
        """What it wrote, if it did."""
        return None if self.written is None else self.written.generation

    @property
    def metrics(self) -> dict[str, float]:
        """Those of theta_k."""
        return self.model.metrics

    @property
    def files(self) -> tuple[FileEntry, ...]:
        """Every file that a link names, the model's first."""
        return tuple(entry for link in self._links for entry in link.files)

    @property
    def timings(self) -> dict[str, float]:
        """Seconds by phase."""
        return {name: seconds for link in self._links for name, seconds in link.timings.items()}

    @property
    def facts(self) -> tuple[str, ...]:
        """Each fact once: two links may name the same one."""
        return tuple(dict.fromkeys(fact for link in self._links for fact in link.facts))

    @property
    def _links(self) -> tuple[Link, ...]:
        return (self.model,) if self.written is None else (self.model, self.written)


# They take turns along the chain.
_KINDS: tuple[type[Link], ...] = (ModelLink, GenerationLink)
_Kind = TypeVar("_Kind", bound=Link)


def link_key(number: int) -> str:
    """Where the `number`-th link of a chain lies, counted from 0."""
    iteration, turn = divmod(number, 2)
    return layout.generation_link(iteration) if turn else layout.model_link(iteration)


def write_link(store: Store, link: Link, lease: Lease) -> None:
    """Make what the link names count, and name the link before it; called last, by the holder of the lease.

    Raises:
        ResumableError: another driver took the run over, or wrote this link first.
        ObjectMissingError: there is no link before it.
    """
    number = 2 * link.iteration + _KINDS.index(type(link))
    parent = hashlib.sha256(store.read(link_key(number - 1))).hexdigest() if number else None
    lease.assert_held()
    try:
        store.create(link_key(number), link.model_copy(update={"parent_sha256": parent}).to_bytes())
    except AlreadyExistsError as error:
        raise ResumableError(
            f"{store.root}: iteration {link.iteration} was finished by another driver: run the same command again"
        ) from error


def read_link(store: Store, number: int) -> tuple[Link, str] | None:
    """The `number`-th link of a chain, and its SHA-256; None where the chain ends. Raises IntegrityError."""
    data = store.read_if_exists(link_key(number))
    if data is None:
        return None
    return _parse(store, _KINDS[number % 2], number // 2, data), hashlib.sha256(data).hexdigest()


def read_generation(store: Store, iteration: int) -> GenerationLink:
    """The link of a generation that was settled. Raises ObjectMissingError, IntegrityError."""
    return _parse(store, GenerationLink, iteration, store.read(layout.generation_link(iteration)))


def read_manifest(store: Store, iteration: int) -> Manifest:
    """What is recorded of an iteration that exists. Raises ObjectMissingError, IntegrityError."""
    model = _parse(store, ModelLink, iteration, store.read(layout.model_link(iteration)))
    written = store.read_if_exists(layout.generation_link(iteration))
    return Manifest(model, None if written is None else _parse(store, GenerationLink, iteration, written))


def read_chain(store: Store) -> list[Manifest]:
    """The manifests of all iterations that exist, from 0 on, each link checked against the one before it.

    Raises:
        IntegrityError: one is damaged, out of place, names another parent, or belongs to other data or settings.
    """
    links: list[Link] = []
    parent: str | None = None
    while (found := read_link(store, len(links))) is not None:
        link, sha256 = found
        if link.parent_sha256 != parent:
            raise IntegrityError(
                f"{store.root}/{link_key(len(links))} names parent {link.parent_sha256}, but the manifest before it "
                f"has SHA-256 {parent}: one of the two was changed; restore it"
            )
        links.append(link)
        parent = sha256
    require_no_later(store, len(links))
    manifests = paired(links)
    _require_one_origin(store, manifests)
    return manifests


def paired(links: Sequence[Link]) -> list[Manifest]:
    """The iterations of a chain, by its links from the first on."""
    written = {link.iteration: link for link in links if isinstance(link, GenerationLink)}
    return [Manifest(link, written.get(link.iteration)) for link in links if isinstance(link, ModelLink)]


def require_no_later(store: Store, missing: int) -> None:
    """See that a chain ends where its next link is missing. Raises IntegrityError where one comes after it."""
    later = next((key for key in map(link_key, (missing + 1, missing + 2)) if store.exists(key)), None)
    if later is not None:
        raise IntegrityError(
            f"{store.root}/{link_key(missing)} is missing, and a later one, {later}, is there: restore it with all of "
            f"{layout.folder(missing // 2)}, or remove what comes after it to make it again"
        )


def combined_digest(manifests: list[Manifest]) -> str | None:
    """The committed digest of a run: over the content hashes of all its iterations; None where none has written yet."""
    contents = [manifest.generation.content_sha256 for manifest in manifests if manifest.generation is not None]
    if not contents:
        return None
    return hashlib.sha256("".join(contents).encode()).hexdigest()


def _parse(store: Store, kind: type[_Kind], iteration: int, data: bytes) -> _Kind:
    name = f"{store.root}/{link_key(2 * iteration + _KINDS.index(kind))}"
    link = kind.from_bytes(data, name)
    if link.format_version != FORMAT_VERSION:
        raise IntegrityError(
            f"{name} has format_version {link.format_version}; this version reads {FORMAT_VERSION}: use the version "
            "that wrote it, or start again in an empty run directory"
        )
    if link.iteration != iteration:
        raise IntegrityError(f"{name} is of iteration {link.iteration}: restore the one that was written there")
    for entry in link.files:
        if not entry.key.startswith(f"{layout.folder(iteration)}/"):
            raise IntegrityError(f"{name} names {entry.key}, which is not the iteration's own: restore the manifest")
    return link


def _require_one_origin(store: Store, manifests: list[Manifest]) -> None:
    origins = [(each.model.config_fingerprint, each.model.dataset_fingerprint) for each in manifests]
    for iteration, origin in enumerate(origins):
        if origin != origins[0]:
            raise IntegrityError(
                f"{store.root}/{layout.model_link(iteration)} belongs to other settings or other data than iteration "
                "0: restore it"
            )
