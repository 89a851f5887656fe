"""`rsir --version` says what is installed, and loads none of it."""

import subprocess
import sys
from importlib.metadata import version

import pytest

from rsir_scale import __version__, environment
from rsir_scale.cli import version as version_module
from rsir_scale.cli.main import main
from rsir_scale.cli.version import KERNELS, best_instructions, version_lines
from rsir_scale.models import compiled as decoding
from rsir_scale.models import compiled_packed as training
from rsir_scale.ranking import compiled as search
from rsir_scale.training import compiled as loss


def test_the_version_option_prints_a_line_each_and_ends_with_0(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["--version"])
    lines = capsys.readouterr().out.splitlines()
    assert not end.value.code
    assert lines[0] == f"rsir-scale {__version__}"
    assert f"torch {version('torch')}" in lines
    assert f"ray {version('ray')}" in lines
    assert [line.split()[1] for line in lines if line.startswith("compiled ")] == [*KERNELS]


def test_the_instructions_are_those_that_the_kernels_use() -> None:
    for name, kernel in (("search", search), ("decoding", decoding), ("training", training), ("loss", loss)):
        assert best_instructions(*KERNELS[name]) == next(iter(kernel.instructions()), "not built")


def test_what_is_missing_is_said_to_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(version_module, "installed_version", lambda package: None)
    monkeypatch.setattr(version_module, "KERNELS", {"search": ("rsir_scale.ranking._nothing", "nothing")})
    assert {"torch not installed", "faiss not installed", "compiled search not built"} <= {*version_lines()}


def test_each_build_of_faiss_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    versions = {"faiss-cpu": "1.2.3", "faiss-gpu": "1.2.4"}
    monkeypatch.setattr(version_module, "installed_version", versions.get)
    assert "faiss-cpu 1.2.3, faiss-gpu 1.2.4" in version_lines()
    assert set(versions) < set(environment.FAISS_PACKAGES)


@pytest.mark.parametrize("option", ["--version", "--help"])
def test_neither_version_nor_help_loads_torch_or_ray(option: str) -> None:
    code = (
        "import sys\nfrom rsir_scale.cli.main import main\n"
        f"try:\n    main(['{option}'])\n"
        "except SystemExit as end:\n    assert not end.code\n"
        "print([name for name in ('torch', 'ray', 'faiss') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "[]"
