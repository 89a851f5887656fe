"""The check for builds of FAISS that overwrite each other."""

from importlib.metadata import PackageNotFoundError
from itertools import combinations

import pytest

from rsir_scale import environment
from rsir_scale.environment import FAISS_PACKAGES, check_faiss_packages
from rsir_scale.errors import ConfigError


def _install_only(monkeypatch: pytest.MonkeyPatch, *packages: str) -> None:
    def version(package: str) -> str:
        if package not in packages:
            raise PackageNotFoundError(package)
        return "1.2.3"

    monkeypatch.setattr(environment, "version", version)


@pytest.mark.parametrize("packages", [(), *((name,) for name in FAISS_PACKAGES)])
def test_none_or_one_build_of_faiss_is_accepted(monkeypatch: pytest.MonkeyPatch, packages: tuple[str, ...]) -> None:
    _install_only(monkeypatch, *packages)
    check_faiss_packages()


@pytest.mark.parametrize("packages", [*combinations(FAISS_PACKAGES, 2), FAISS_PACKAGES])
def test_several_builds_of_faiss_are_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, packages: tuple[str, ...]
) -> None:
    _install_only(monkeypatch, *packages)
    with pytest.raises(ConfigError, match="pip uninstall") as refusal:
        check_faiss_packages()
    assert all(f"{name} 1.2.3" in str(refusal.value) for name in packages)
    assert refusal.value.exit_code == 2
