"""What `rsir --version` prints: what is installed here, and which of the processor's instructions each kernel uses.

Comes in: the metadata of the environment. Goes out: one line each. Nothing heavy is imported, so that it answers at
once, also where torch or Ray is damaged or missing.
"""

import platform

from rsir_scale import __version__
from rsir_scale.environment import FAISS_PACKAGES, installed_version
from rsir_scale.extension import Kernel

# Module and the function that names its sets of instructions, as beside each kernel; those modules load torch.
KERNELS = {
    "search": ("rsir_scale.ranking._scan", "rsir_instructions"),
    "decoding": ("rsir_scale.models._blocks", "rsir_blocks_instructions"),
    "training": ("rsir_scale.models._packed", "rsir_packed_instructions"),
    "loss": ("rsir_scale.training._softmax", "rsir_softmax_instructions"),
}


def version_lines() -> list[str]:
    """Version of the package, of Python, torch, Ray and FAISS, and the best instructions of each kernel."""
    return [
        f"rsir-scale {__version__}",
        f"python {platform.python_version()}",
        *(f"{package} {installed_version(package) or 'not installed'}" for package in ("torch", "ray")),
        _faiss(),
        *(f"compiled {work} {best_instructions(*kernel)}" for work, kernel in KERNELS.items()),
    ]


def best_instructions(module: str, nth_name: str) -> str:
    """The best set of instructions that a compiled module has for this processor."""
    return next(iter(all_instructions(module, nth_name)), "not built")


def all_instructions(module: str, nth_name: str) -> tuple[str, ...]:
    """The sets of instructions that a compiled module has for this processor, best first; empty if it was not built."""
    return Kernel(module, title="", instead="", nth_name=nth_name, functions={}).instructions()


def _faiss() -> str:
    found = [f"{package} {version}" for package in FAISS_PACKAGES if (version := installed_version(package))]
    return ", ".join(found) or "faiss not installed"
