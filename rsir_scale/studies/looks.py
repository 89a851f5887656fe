"""How often the test set of a study was looked at: a choice made after a look is a choice on test.

Comes in: what a report is about to show. Goes out: a record of the look, and a warning where an earlier look saw other
models: a person who adds seeds until a figure pleases should read it. The same models again are one look.
"""

import hashlib
import time
from collections.abc import Iterable

from rsir_scale.runs.manifest import link_key, read_chain
from rsir_scale.runs.records import Count, Record, Sha256
from rsir_scale.storage.base import AlreadyExistsError, Store, sha256_of

FOLDER = "looks"


class Look(Record):
    """One report with test figures; `time` in seconds since 1970, `models_sha256` over the manifests that it read."""

    time: float
    done: Count
    cells: Count
    models_sha256: Sha256


def models_digest(stores: Iterable[Store]) -> str:
    """SHA-256 over the manifests of runs, in the order given. Raises IntegrityError."""
    hasher = hashlib.sha256()
    for store in stores:
        for iteration in range(len(read_chain(store))):
            hasher.update(sha256_of(store, link_key(2 * iteration))[0].encode())
    return hasher.hexdigest()


def record_look(store: Store, *, done: int, cells: int, models_sha256: str) -> list[Look]:
    """Keep a look, unless the last one saw the same models; returns the earlier ones that saw others."""
    looks = read_looks(store)
    if not looks or looks[-1].models_sha256 != models_sha256:
        look = Look(time=round(time.time(), 3), done=done, cells=cells, models_sha256=models_sha256)
        try:
            store.create(_key(len(looks)), look.to_bytes())
        except AlreadyExistsError:
            return record_look(store, done=done, cells=cells, models_sha256=models_sha256)
    return [look for look in looks if look.models_sha256 != models_sha256]


def read_looks(store: Store) -> list[Look]:
    """All looks, the oldest first. Raises IntegrityError."""
    looks: list[Look] = []
    while (data := store.read_if_exists(_key(len(looks)))) is not None:
        looks.append(Look.from_bytes(data, f"{store.root}/{_key(len(looks))}"))
    return looks


def warning_of(earlier: list[Look]) -> list[str]:
    """What to say of earlier looks; nothing where there were none."""
    if not earlier:
        return []
    first = earlier[0]
    times = "once" if len(earlier) == 1 else f"{len(earlier)} times"
    warning = (
        f"the test set was looked at {times} before, first with {first.done} of {first.cells} cells done: arms, seeds "
        "or settings that were chosen after that were chosen on test, and their p-values are too small"
    )
    return [warning]


def _key(number: int) -> str:
    return f"{FOLDER}/{number:05d}.json"
