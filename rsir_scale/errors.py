"""Every error that a user can meet, with the exit code that goes with it.

A message tells the value, the rule it broke and the way out. Each class survives a pickle round trip, because errors
cross process borders on a cluster: all arguments go to `Exception.__init__`.
"""


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


class LeaseHeldError(ResumableError):
    """Another driver works on this run directory."""


class StorageFullError(ResumableError):
    """The store took no more bytes; nothing of the object at hand was committed."""


class IntegrityError(RsirError):
    """Bytes or rows of a run are not what its manifests say."""

    exit_code = 4
