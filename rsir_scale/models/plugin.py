"""A backbone that the user brings, found by `model.backbone: package.module:Class`.

Only the class that a config names is imported, from Python's path as it is: nothing in a run directory is put on it, so
a run never brings code along. Importing runs what stands at the module's top level.
"""

from rsir_scale.config.own_class import import_own
from rsir_scale.errors import ConfigError
from rsir_scale.models.base import Backbone

SIGNATURE = (
    "class {name}(rsir_scale.models.base.Backbone) with "
    "__init__(self, config: ModelConfig, *, item_count: int, max_length: int), "
    "item_vectors(self) -> float32 [V + 1, D], and "
    "hidden(self, context_BL) -> [B, L, D] or encode(self, context_BL) -> [B, D]"
)


def plugin_class(backbone: str) -> type[Backbone]:
    """Import the class that `package.module:Class` names.

    Raises:
        ConfigError: it cannot be imported, or is no subclass of `Backbone`.
    """
    found = import_own("model.backbone", backbone)
    if not (isinstance(found, type) and issubclass(found, Backbone)):
        raise ConfigError(
            f"model.backbone={backbone} is {found!r}, no subclass of Backbone: name a {expected(backbone)}"
        )
    return found


def expected(backbone: str) -> str:
    """Say what such a class must look like."""
    return SIGNATURE.format(name=backbone.partition(":")[2])
