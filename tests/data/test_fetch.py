import hashlib
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from rsir_scale.data import fetch as fetch_module
from rsir_scale.data.dataset import stats
from rsir_scale.data.fetch import fetch
from rsir_scale.data.prepare import prepare
from rsir_scale.errors import InputError, IntegrityError
from tests.data.logs import read

CONTENT = b"user_id:token\titem_id:token\ttimestamp:float\n1\t2\t3\n"
MEMBER = "recbole/dataset_example/ml-100k/ml-100k.inter"


def pip(member: str = MEMBER, content: bytes = CONTENT, code: int = 0) -> Callable[..., object]:
    """Stands for `subprocess.run` of pip: puts a wheel into the folder after --dest."""

    def run(command: list[str], **settings: object) -> subprocess.CompletedProcess[str]:
        if code == 0:
            with zipfile.ZipFile(Path(command[command.index("--dest") + 1]) / "recbole.whl", "w") as wheel:
                wheel.writestr(member, content)
        return subprocess.CompletedProcess(command, code, "", "ERROR: no network\n" if code else "")

    return run


@pytest.fixture(autouse=True)
def known_content(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    if request.node.get_closest_marker("network") is None:
        known = fetch_module._SOURCES["ml-100k"]
        source = fetch_module._Source(
            known.requirement, known.member, known.file_name, hashlib.sha256(CONTENT).hexdigest()
        )
        monkeypatch.setitem(fetch_module._SOURCES, "ml-100k", source)


def test_fetch_writes_the_file_and_keeps_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "run", pip())
    assert fetch("ml-100k", tmp_path / "raw") == tmp_path / "raw" / "ml-100k.inter"
    monkeypatch.setattr(subprocess, "run", pip(code=1))
    assert fetch("ml-100k", tmp_path / "raw").read_bytes() == CONTENT
    assert [path.name for path in (tmp_path / "raw").iterdir()] == ["ml-100k.inter"]


def test_fetch_replaces_a_file_that_is_not_the_known_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ml-100k.inter").write_bytes(CONTENT[:-1])
    monkeypatch.setattr(subprocess, "run", pip())
    assert fetch("ml-100k", tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("run", "error", "message"),
    [
        (pip(content=b"other"), IntegrityError, "has SHA-256"),
        (pip(member="recbole/other"), IntegrityError, "does not hold"),
        (pip(code=1), InputError, "no network"),
    ],
)
def test_a_wrong_or_missing_wheel_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Callable[..., object], error: type[Exception], message: str
) -> None:
    monkeypatch.setattr(subprocess, "run", run)
    with pytest.raises(error, match=message):
        fetch("ml-100k", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_name_and_an_unwritable_folder_are_input_errors(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="ml-100k"):
        fetch("ml-1b", tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="--out"):
        fetch("ml-100k", tmp_path / "file")


@pytest.mark.network
def test_movielens_100k_is_the_real_one(tmp_path: Path) -> None:
    source = fetch("ml-100k", tmp_path)
    prepare(read("recbole", source).frame, tmp_path / "prepared", min_count=0, max_length=1000)
    facts = stats(tmp_path / "prepared")
    assert (facts["users"], facts["items"], facts["interactions"]) == (943, 1682, 100_000)
