"""Recursive self-improving recommendation on Ray.

Importing the package loads neither torch nor Ray, so that `rsir status` answers at once. `load_model` is looked up on
first use for that reason.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rsir_scale.outputs.recommend import load_model

__version__ = "0.1.0.dev0"
__all__ = ["__version__", "load_model"]


def __getattr__(name: str) -> Any:
    if name == "load_model":
        from rsir_scale.outputs.recommend import load_model

        return load_model
    raise AttributeError(f"module 'rsir_scale' has no attribute {name!r}")
