"""Importing a class that the user brings, `package.module:Class`, from Python's path as it is.

Only what a user's config names is imported: nothing in a run directory is put on the path. Importing runs what stands
at the module's top level.
"""

from importlib import import_module
from typing import Any

from rsir_scale.errors import ConfigError


def import_own(setting: str, name: str) -> Any:
    """Import what `package.module:Class` names.

    Args:
        setting: the key that holds the name, as an error calls it.
        name: the class.

    Raises:
        ConfigError: it cannot be imported.
    """
    module_name, _, class_name = name.partition(":")
    try:
        return getattr(import_module(module_name), class_name)
    except Exception as error:  # whatever the module of the user raises when it is run
        raise ConfigError(
            f"{setting}={name} cannot be imported ({type(error).__name__}: {error}): install its package, or put the "
            "folder that holds it on PYTHONPATH, on every node of a cluster"
        ) from error
