"""What lost attempts left in a run: objects that carry an attempt in their name and that no record mentions.

Comes in: a run. Goes out: their keys, or their removal. Whatever counts in a run is named by one of its records, all of
which are JSON; so what no string of any record names is nobody's, once the record that could have named it is there:
before that, an attempt that nobody sees may be about to commit it. A training's state is over with its model. A reader
never meets a leftover, for readers do not list: only its room is lost. Files that are not of a kind that we write under
an attempt's name are left alone.
"""

import re
import time
from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

from pydantic import TypeAdapter, ValidationError

from rsir_scale.errors import InputError, IntegrityError, first_fault
from rsir_scale.runs import layout
from rsir_scale.runs.begun import is_run
from rsir_scale.runs.lease import Clock, Lease
from rsir_scale.storage.base import Store, is_temporary, size_of

_ANY_JSON: TypeAdapter[Any] = TypeAdapter(Any)
_OF_AN_ATTEMPT = re.compile(r"\.[0-9a-f]{12}\.(safetensors|parquet)$")
# Of a fit, in the folder of one kind; which record says that it is done.
_OF_A_FIT = tuple(
    (re.compile(rf"{fit}/(?:state\.json|progress\.json|state-\d{{5,}}\.[0-9a-f]{{12}}\.safetensors)"), record)
    for fit, record in (
        (r"(iteration=\d{3,})/training", r"\1/model/model.json"),
        (r"(iteration=\d{3,}/generation/learned)", r"\1/model.json"),
    )
)
# What names objects lies in these folders; JSON elsewhere is the user's, or names none.
_RECORD = re.compile(r"(?:teacher|iteration=\d{3,})/.*\.json")
# Which record decides whether an attempt's object counts.
_DECIDED_BY = (
    (re.compile(r"teacher/weights-.*"), layout.TEACHER),
    (re.compile(r"(iteration=\d{3,})/model/weights-.*"), r"\1/model/model.json"),
    (re.compile(r"(iteration=\d{3,})/ranks\..*"), r"\1/metrics.json"),
    (re.compile(r"(iteration=\d{3,}/generation/learned)/weights-.*"), r"\1/model.json"),
    (re.compile(r"(iteration=\d{3,}/generation)/clusters\..*"), r"\1/search.json"),
    (re.compile(r"(iteration=\d{3,}/generation)/prepared\..*"), r"\1/prepared.json"),
    (re.compile(r"(iteration=\d{3,}/generation/learned)/weights-.*"), r"\1/model.json"),
    (re.compile(r"(iteration=\d{3,}/generation)/(?:data|errors)/part-(\d{5,})\..*"), r"\1/commits/\2.json"),
)
_IDS = re.compile(r"(iteration=\d{3,}/generation/)(?:dropped|replaced)\.")


def leftovers(store: Store) -> list[str]:
    """The keys that no record of the run names, sorted; while a driver works they may be its own.

    Raises:
        IntegrityError: a record cannot be read, so nobody can say what it names.
    """
    keys = set(store.list(""))
    over = {key for key in keys if _is_over(key, keys)}
    records = sorted(key for key in keys - over if _RECORD.fullmatch(key))
    named = {text for key in records for text in _strings(_parsed(store, key))}
    unnamed = {key for key in keys - over - named if _OF_AN_ATTEMPT.search(key) and _is_decided(key, keys, named)}
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
    """Whether it is a torn temporary file, or of a fit whose model is published."""
    return is_temporary(key) or any(
        pattern.fullmatch(key) is not None and pattern.sub(record, key) in keys for pattern, record in _OF_A_FIT
    )


def _is_decided(key: str, keys: set[str], named: set[str]) -> bool:
    """Whether no attempt can make it count any more, however late it comes."""
    ids = _IDS.match(key)
    if ids is not None:
        # The manifest decides, or where that came without sequences, what extends it: both name dropped ids.
        return any(other.startswith(f"{ids[1]}dropped.") for other in named)
    return any(pattern.sub(record, key) in keys for pattern, record in _DECIDED_BY if pattern.fullmatch(key))


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
