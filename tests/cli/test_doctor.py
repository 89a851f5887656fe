"""`rsir doctor` says what is there, and what to do about what is not."""

import json
from importlib.metadata import version

import pytest

from rsir_scale.cli import doctor
from rsir_scale.cli.doctor import BROKEN, OK, SLOWER, findings, loaded
from tests.cli.test_main import call


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Versions without the seconds that loading torch and Ray takes."""
    answers = {doctor._TORCH: '["2.0", ["a GPU", "another"]]', doctor._RAY: '["3.0"]'}
    monkeypatch.setattr(doctor, "loaded", lambda script: (True, answers[script]))


def found() -> dict[str, doctor.Finding]:
    return {finding.what: finding for finding in findings()}


def test_a_module_that_loads_says_its_version_and_one_that_does_not_says_why() -> None:
    assert loaded("import json, numpy; print(json.dumps([numpy.__version__]))") == (True, f'["{version("numpy")}"]')
    assert loaded("import nobodys_module") == (False, "ModuleNotFoundError: No module named 'nobodys_module'")
    assert loaded("import os; os._exit(9)") == (False, "ended with code 9")


@pytest.mark.usefixtures("quick")
def test_a_whole_installation_is_told_as_json_and_as_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = call(capsys, "doctor", "--json")
    told = json.loads(out)
    assert (code, told["ok"]) == (0, True)
    named = {each["what"]: each["found"] for each in told["findings"]}
    assert (named["torch"], named["gpus"], named["ray"]) == ("2.0", "a GPU, another", "3.0")
    code, out, _ = call(capsys, "doctor")
    assert code == 0
    assert "another" in out


def test_a_torch_that_does_not_load_is_broken_and_says_what_to_do(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "loaded", lambda script: (False, "ImportError: libtorch.so"))
    code, out, _ = call(capsys, "doctor")
    assert code == 2
    assert "libtorch.so" in out
    assert "pip install --force-reinstall" in out


@pytest.mark.usefixtures("quick")
def test_two_builds_of_faiss_are_broken_and_none_is_fine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("rsir_scale.environment.installed_version", "rsir_scale.cli.doctor.installed_version"):
        monkeypatch.setattr(name, lambda package: "1.0")
    assert (found()["faiss"].state, "pip uninstall" in found()["faiss"].advice) == (BROKEN, True)
    for name in ("rsir_scale.environment.installed_version", "rsir_scale.cli.doctor.installed_version"):
        monkeypatch.setattr(name, lambda package: None)
    assert (found()["faiss"].state, found()["faiss"].advice) == (OK, "")


@pytest.mark.usefixtures("quick")
def test_a_kernel_that_was_not_built_makes_things_slower(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "KERNELS", {"search": ("rsir_scale.ranking._nothing", "nothing")})
    finding = found()["compiled search"]
    assert (finding.state, "C++ compiler" in finding.advice) == (SLOWER, True)


@pytest.mark.parametrize(("available", "state"), [(1.0, SLOWER), (100.0, OK)])
def test_little_memory_is_told(available: float, state: str) -> None:
    assert doctor._memory(available, 200.0).state == state
