"""What lost attempts left in a run: objects that carry an attempt in their name and that no record mentions.

Comes in: a run. Goes out: their keys, or their removal. Whatever counts in a run is named by one of its records, all of
which are JSON; so what no string of any record names is nobody's, once the record that could have named it is there:
before that, an attempt that nobody sees may be about to commit it. A training's state is over with its model. A reader
never meets a leftover, for readers do not list: only its room is lost. What decides is what `layout` says of a key, so
files whose keys it does not make are left alone, however much they look alike.
"""

import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

from pydantic import TypeAdapter, ValidationError

from rsir_scale.errors import InputError, IntegrityError, first_fault
from rsir_scale.runs import layout
from rsir_scale.runs.begun import is_run
from rsir_scale.runs.layout import Kind
from rsir_scale.runs.lease import Clock, Lease
from rsir_scale.storage.base import Store, is_temporary, size_of

_ANY_JSON: TypeAdapter[Any] = TypeAdapter(Any)
# Which record says that a fit is done, and its state over.
_FITTED = {Kind.TRAINING: Kind.MODEL, Kind.LEARNING: Kind.LEARNED}
# Which record decides whether an attempt's object counts.
_DECIDED_BY = {
    Kind.TEACHER_WEIGHTS: Kind.TEACHER,
    Kind.WEIGHTS: Kind.MODEL,
    Kind.RANKS: Kind.METRICS,
    Kind.CLUSTERS: Kind.SEARCH,
    Kind.PREPARED_TABLE: Kind.PREPARED,
    Kind.LEARNED_WEIGHTS: Kind.LEARNED,
    Kind.PART: Kind.COMMIT,
    Kind.ERRORS: Kind.COMMIT,
    Kind.DROPPED: Kind.GENERATION_LINK,
    Kind.REPLACED: Kind.GENERATION_LINK,
}


def leftovers(store: Store) -> list[str]:
    """The keys that no record of the run names, sorted; while a driver works they may be its own.

    Raises:
        IntegrityError: a record cannot be read, so nobody can say what it names.
    """
    keys = set(store.list(""))
    over = {key for key in keys if _is_over(key, keys)}
    records = sorted(key for key in keys - over if layout.is_record(key))
    named = {text for key in records for text in _strings(_parsed(store, key))}
    unnamed = {key for key in keys - over - named if _is_decided(key, keys)}
    return sorted(over | unnamed)


def clean(store: Store, *, dry_run: bool = False, clock: Clock = time.time) -> dict[str, Any]:
    """Remove them while holding the run's lease, or only say what would go, which writes nothing.

    Args:
        store: the run.
        dry_run: remove nothing, and ask nobody: beside a driver that works, some keys may be its own.
        clock: of the lease.

    Returns:
        `removed`, whether they are; `objects`; `bytes`; `keys`.

    Raises:
        InputError: there is no run.
        LeaseHeldError: a driver works on it; not of a dry run.
        IntegrityError: a record is damaged; nothing was removed.
    """
    if not is_run(store):
        raise InputError(f"{store.root} holds no {layout.RUN_CONFIG}, so it is no run: name a run directory")
    with nullcontext() if dry_run else Lease(store, clock=clock):
        found = leftovers(store)
        size = sum(size_of(store, key) for key in found)
        for key in () if dry_run else found:
            store.delete(key)
    return {"removed": not dry_run, "objects": len(found), "bytes": size, "keys": found}


def _is_over(key: str, keys: set[str]) -> bool:
    """Whether it is a torn temporary file, or of the state of a fit whose model is published."""
    place = layout.parse(key)
    fit = None if place is None or place.fit is None else layout.parse(place.fit)
    fitted = fit is not None and replace(fit, kind=_FITTED[fit.kind]).key in keys
    return fitted or is_temporary(key)


def _is_decided(key: str, keys: set[str]) -> bool:
    """Whether it is an attempt's, and no attempt can make it count any more, however late it comes."""
    place = layout.parse(key)
    if place is None:
        return False
    record = _DECIDED_BY.get(place.kind)
    return record is not None and replace(place, kind=record).key in keys


def _parsed(store: Store, key: str) -> Any:
    # Gone since it was listed: a state that training has finished with.
    data = store.read_if_exists(key)
    try:
        return None if data is None else _ANY_JSON.validate_json(data)
    except ValidationError as error:
        raise IntegrityError(
            f"{store.root}/{key} is no JSON ({first_fault(error)}), so what it names is not known and nothing "
            "was removed: restore it, or look for what else is damaged with `rsir verify`"
        ) from error


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for each in value.values():
            yield from _strings(each)
    elif isinstance(value, list):
        for each in value:
            yield from _strings(each)
