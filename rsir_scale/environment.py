"""What must hold for the installed packages before any command starts.

Comes in: the metadata of the current environment. Goes out: nothing, or an error that says what to uninstall. The check
imports none of the packages it looks at: the builds of FAISS share one module name, so whichever was installed last has
overwritten files of the other, and an import would tell nothing.
"""

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from rsir_scale.errors import ConfigError

FAISS_PACKAGES = ("faiss-cpu", "faiss-gpu", "faiss-gpu-cuvs")


def check_faiss_packages() -> None:
    """Refuse an environment in which two builds of FAISS overwrite each other.

    Raises:
        ConfigError: more than one of `FAISS_PACKAGES` is installed.
    """
    installed = {name: found for name in FAISS_PACKAGES if (found := _installed_version(name)) is not None}
    if len(installed) > 1:
        listed = ", ".join(f"{name} {found}" for name, found in installed.items())
        raise ConfigError(
            f"{listed} are installed together, but they hold the same module `faiss`, and at most one may be present: "
            f"run `pip uninstall {' '.join(installed)}`, then install rsir-scale[cpu] or rsir-scale[gpu]"
        )


def _installed_version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def load_faiss(*, gpu: bool = False) -> Any:
    """Import FAISS, with as many threads as torch has in this process, so that its results do not depend on the host.

    Raises:
        ConfigError: it is not installed, or was built without GPUs where one is to be used.
    """
    import torch

    try:
        faiss = import_module("faiss")
    except ImportError as error:
        raise ConfigError(
            f"clusters are made by FAISS, which is not installed ({error}): pip install rsir-scale[cpu], or "
            "rsir-scale[gpu] with an NVIDIA GPU; or set fidelity.mode=exact"
        ) from error
    if gpu and not (hasattr(faiss, "StandardGpuResources") and faiss.get_num_gpus()):
        raise ConfigError(
            "generation.use_gpu=true, but this FAISS has no GPU: pip uninstall faiss-cpu, install rsir-scale[gpu], or "
            "set fidelity.scan=torch"
        )
    faiss.omp_set_num_threads(torch.get_num_threads())
    return faiss
