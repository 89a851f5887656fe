"""What must hold for the installed packages before any command starts.

Comes in: the metadata of the current environment. Goes out: nothing, or an error that says what to uninstall. It
imports none of the packages it looks at: the builds of FAISS share one module name, so whichever was installed last has
overwritten files of the other, and an import would tell nothing.
"""

from importlib.metadata import PackageNotFoundError, version

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
