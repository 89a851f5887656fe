"""`make setup` notices that something is gone of what it installed."""

import importlib
from pathlib import Path

import pytest

from devtools import installed


def _package(folder: Path, name: str) -> Path:
    (folder / name).mkdir()
    init = folder / name / "__init__.py"
    init.write_text("raise SystemExit('imported')\n")
    return init


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of packages, which Python looks into first."""
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def test_a_stamp_names_what_is_installed_and_the_kernels_that_were_built(tmp_path: Path) -> None:
    stamp = tmp_path / "installed"
    assert installed.main(["record", str(stamp)]) == 0
    names = stamp.read_text().split()
    assert {"torch", "ray", "pytest", "rsir_scale"} <= {*names}
    built = {path.name.split(".")[0] for path in Path("rsir_scale").glob("*/_*.so")}
    assert {name.rpartition(".")[2] for name in names if name.startswith("rsir_scale.")} == built
    assert installed.main(["check", str(stamp)]) == 0


@pytest.mark.parametrize("lost", ["the package", "its first file"])
def test_a_module_that_is_gone_is_named_and_none_is_imported(
    site: Path, capsys: pytest.CaptureFixture[str], lost: str
) -> None:
    init = _package(site, "kept_here") and _package(site, "lost_later")
    stamp = site / "installed"
    stamp.write_text("kept_here\nlost_later\n")
    importlib.invalidate_caches()
    assert installed.main(["check", str(stamp)]) == 0
    init.unlink()
    if lost == "the package":
        init.parent.rmdir()
    importlib.invalidate_caches()
    assert installed.main(["check", str(stamp)]) == 1
    assert capsys.readouterr().out == f"{site} lacks lost_later\n"


def test_a_kernel_of_a_package_that_is_gone_is_missing() -> None:
    assert installed.missing(["no_such_package.kernel", "rsir_scale.ranking._no_such_kernel"]) == [
        "no_such_package.kernel",
        "rsir_scale.ranking._no_such_kernel",
    ]


def test_a_stamp_that_names_nothing_asks_for_torch_and_ray(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(installed, "missing", sorted)
    stamp = tmp_path / "installed"
    stamp.touch()
    assert installed.main(["check", str(stamp)]) == 1
    assert capsys.readouterr().out == f"{tmp_path} lacks ray, torch\n"
