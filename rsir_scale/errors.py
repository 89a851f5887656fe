"""Every error that a user can meet, with the exit code that goes with it.

A message tells the value, the rule it broke and the way out. Each class survives a pickle round trip, because errors
cross process borders on a cluster: all arguments go to `Exception.__init__`.
"""

from typing import Any

_SHOWN_CHARACTERS = 160  # room for a path
_REASON_CHARACTERS = 500


def shown(value: object) -> str:
    """A value as a message shows it: as `repr` does, and cut short where it is long."""
    # Of a long text only the beginning is written out at all.
    text = repr(value[: 2 * _SHOWN_CHARACTERS] if isinstance(value, str | bytes) else value)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"


def first_fault(error: Any) -> str:
    """What a pydantic ValidationError finds first: place, value and rule, on one line of bounded length."""
    fault = error.errors(include_url=False, include_context=False)[0]
    where = ".".join(str(part) for part in fault["loc"]) or "content"
    return f"{where[:_SHOWN_CHARACTERS]}={shown(fault['input'])}: {fault['msg'][: 3 * _SHOWN_CHARACTERS]}"


def reason_of(error: BaseException) -> str:
    """Kind and message of an error, on one line of bounded length."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:_REASON_CHARACTERS]


class RsirError(Exception):
    """Root of the family. `exit_code` is what the command line returns."""

    exit_code = 1


class ConfigError(RsirError):
    """A setting is unknown, malformed or contradicts another one."""

    exit_code = 2


class InputError(RsirError):
    """A dataset, file or run directory is missing, malformed or does not fit the request."""

    exit_code = 2


class ResumableError(RsirError):
    """The run stopped; the same command takes it up again."""

    exit_code = 3


class DivergedError(ResumableError):
    """A fit's loss, a weight or a score is not a number; the last good state is kept."""


class LeaseHeldError(ResumableError):
    """Another driver works on this run directory."""


class StorageFullError(ResumableError):
    """The store took no more bytes; nothing of the object at hand was committed."""


class IntegrityError(RsirError):
    """Bytes or rows of a run are not what its manifests say."""

    exit_code = 4
