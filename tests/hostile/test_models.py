"""Hostile weights, models and teachers: nothing is loaded that its record does not call for, nor imported."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from tests.hostile.attack import GIB, assert_refused, call, call_apart, held
from tests.hostile.damage import MODEL, Damage, edited, put, weight_bytes, weights
from tests.loop.tiny_run import tiny_run

TABLE, NORM = "items.weight", "blocks.0.attention_norm.weight"


def _first_weights(folder: Path) -> Path:
    return next(folder.glob("iteration=000/model/weights-*.safetensors"))


def _table(change: Callable[[torch.Tensor], torch.Tensor]) -> Damage:
    return weights(lambda tensors: tensors.update({TABLE: change(tensors[TABLE]).contiguous()}))


def _filled(value: float, row: int = 3) -> Callable[[torch.Tensor], torch.Tensor]:
    def change(table: torch.Tensor) -> torch.Tensor:
        table[row, 2] = value
        return table

    return change


def _header(text: bytes, length: int | None = None) -> Damage:
    return weight_bytes(lambda data: (len(text) if length is None else length).to_bytes(8, "little") + text)


def _entry(**tensor: object) -> bytes:
    return json.dumps({TABLE: {"dtype": "F32", "shape": [31, 16], "data_offsets": [0, 1984]} | tensor}).encode()


ROWS = {"rows": json.dumps({TABLE: [0, 10**15]})}
# What is done to the model of iteration 0, and what the message must name.
MODELS: dict[str, tuple[Damage, tuple[str, ...]]] = {
    "other bytes": (lambda run: _first_weights(run).write_bytes(b"x" * 100), ("SHA-256",)),
    "one flipped bit": (
        lambda run: (
            path := _first_weights(run),
            path.write_bytes((data := path.read_bytes())[:-1] + bytes([data[-1] ^ 1])),
        ),
        ("SHA-256",),
    ),
    "no weights": (lambda run: _first_weights(run).unlink(), ("is missing",)),
    "no bytes": (weight_bytes(lambda data: b""), ("damaged",)),
    "half": (weight_bytes(lambda data: data[: len(data) // 2]), ("damaged",)),
    "rubbish": (weight_bytes(lambda data: b"\xff" * 1000), ("damaged",)),
    "a pickle": (weight_bytes(lambda data: b"cos\nsystem\n(S'id'\ntR."), ("damaged",)),
    "a header longer than the file": (_header(b"{}", 2**63 - 1), ("damaged",)),
    "a header that is no JSON": (_header(b"{{{{"), ("damaged",)),
    "a header without end": (_header(b"[" * 100_000), ("damaged",)),
    "a tensor of negative size": (_header(_entry(data_offsets=[100, 0])), ("damaged",)),
    "a tensor beyond the file": (_header(_entry(data_offsets=[0, 2**62])), ("damaged",)),
    "a shape beyond all": (_header(_entry(shape=[2**40, 2**40])), ("damaged",)),
    "a dtype that there is not": (_header(_entry(dtype="F4096")), ("damaged",)),
    "no tensors": (weight_bytes(lambda data: save({})), ("do not fit", "14 tensors")),
    "a tensor missing": (weights(lambda tensors: tensors.pop(TABLE)), ("do not fit", TABLE)),
    "a tensor too many": (weights(lambda tensors: tensors.update(extra=torch.zeros(3))), ("do not fit", "extra")),
    "more items": (_table(lambda table: torch.cat([table, table])), ("do not fit", TABLE)),
    "fewer items": (_table(lambda table: table[:-1]), ("do not fit", TABLE)),
    "another width": (_table(lambda table: table[:, :-1]), ("do not fit", TABLE)),
    "one dimension": (_table(lambda table: table.reshape(-1)), ("do not fit", TABLE)),
    "a scalar": (_table(lambda table: table.sum()), ("do not fit", TABLE)),
    "double precision": (_table(lambda table: table.double()), (TABLE, "float64", "float32")),
    "half precision": (_table(lambda table: table.half()), (TABLE, "float16")),
    "brain floats": (_table(lambda table: table.bfloat16()), (TABLE, "bfloat16")),
    "integers": (_table(lambda table: table.long()), (TABLE, "int64")),
    "truth values": (_table(lambda table: table > 0), (TABLE, "bool")),
    "complex numbers": (_table(lambda table: table.to(torch.complex64)), (TABLE, "complex64")),
    "NaN": (_table(_filled(float("nan"))), ("NaN", "row 3", TABLE)),
    "infinity": (_table(_filled(float("-inf"))), ("infinity", "row 3", TABLE)),
    "NaN in padding": (_table(_filled(float("nan"), row=0)), ("NaN", "row 0")),
    "rows from nowhere": (weights(lambda tensors: None, ROWS), (TABLE, "1000000000000000")),
    "rows that are no numbers": (weights(lambda tensors: None, {"rows": '{"items.weight": "ab"}'}), ("damaged",)),
    "rows that are null": (weights(lambda tensors: None, {"rows": "null"}), ("damaged",)),
    "another model": (edited(MODEL, put("description", "model", "width", value=32)), ("model.json", "model.width")),
    "more blocks": (edited(MODEL, put("description", "model", "blocks", value=9)), ("model.json", "model.blocks")),
    "items beyond memory": (
        edited(MODEL, put("description", "item_count", value=10**15)),
        ("model.json", "item_count"),
    ),
    "a context beyond memory": (
        edited(MODEL, put("description", "max_length", value=10**15)),
        ("model.json", "max_length"),
    ),
    "a width beyond all": (edited(MODEL, put("description", "model", "width", value=10**15)), ("width", "10000000000")),
    "a class of nobody's": (
        edited(MODEL, put("description", "model", "backbone", value="tests.hostile.trap:Trap")),
        ("model.json", "tests.hostile.trap:Trap"),
    ),
    "a backbone that is a path": (
        edited(MODEL, put("description", "model", "backbone", value="../../evil.py")),
        ("../../evil.py",),
    ),
    "weights outside": (edited(MODEL, put("weights", 0, "key", value="../x")), ("../x",)),
    "weights at an absolute path": (edited(MODEL, put("weights", 0, "key", value="/etc/passwd")), ("/etc/passwd",)),
    "weights with NUL": (edited(MODEL, put("weights", 0, "key", value="a\0b")), (r"a\x00b",)),
    "no weights files": (edited(MODEL, put("weights", value=[])), ("weights",)),
    "a hash that is none": (edited(MODEL, put("weights", 0, "sha256", value="Z" * 64)), ("sha256", "ZZZ")),
}


@pytest.mark.timeout(150)
@pytest.mark.parametrize(("damage", "named"), MODELS.values(), ids=MODELS)
def test_a_hostile_model_is_refused_by_all_who_load_it(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, damage: Damage, named: tuple[str, ...]
) -> None:
    run = tiny_run().copy_to(tmp_path / "run").path
    damage(run)
    before = held(tmp_path)
    for command in (
        ("evaluate", run, "--iteration", 0),
        ("recommend", run, "--iteration", 0, "--out", tmp_path / "best.csv"),
    ):
        assert_refused(call(capfd, *command), 4, named)
        assert held(tmp_path) == before


CONFIG = """
data: {{path: {data}, max_length: 8}}
model: {{width: 16, feed_forward: 16}}
training: {{loss: cross_entropy}}
fidelity: {{rank_threshold: 4}}
generation: {{teacher: {teacher}@0}}
"""


@pytest.mark.timeout(150)
@pytest.mark.parametrize(("damage", "named"), MODELS.values(), ids=MODELS)
def test_a_hostile_teacher_is_refused_before_anything_is_written(
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    damage: Damage,
    named: tuple[str, ...],
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    teacher = tiny_run().copy_to(tmp_path / "teacher").path
    damage(teacher)
    (tmp_path / "config.yaml").write_text(CONFIG.format(data=tiny_run().dataset.path, teacher=teacher))
    before = held(tmp_path)
    ended = call(capfd, "plan", tmp_path / "config.yaml")
    assert_refused(
        ended, 2, ("generation.teacher", *(text for text in named if text not in ("model.json", "item_count")))
    )
    assert held(tmp_path) == before


BOMBS = (
    pytest.param(edited(MODEL, put("description", "item_count", value=2**33)), id="items beyond memory"),
    # Each starts a process that loads torch.
    pytest.param(_header(b"[" * (1 << 24)), id="a header without end", marks=pytest.mark.slow),
    pytest.param(
        weights(lambda tensors: None, {"rows": json.dumps({TABLE: [0, 2**40]})}),
        id="rows from nowhere",
        marks=pytest.mark.slow,
    ),
)


@pytest.mark.timeout(150)
@pytest.mark.parametrize("damage", BOMBS)
def test_a_model_that_asks_for_memory_gets_none(tmp_path: Path, damage: Damage) -> None:
    run = tiny_run().copy_to(tmp_path / "run").path
    damage(run)
    ended = call_apart(tmp_path, "recommend", run, "--iteration", 0, "--out", tmp_path / "best.csv")
    assert_refused(ended, 4, ())
    assert ended.peak_bytes < GIB
    assert ended.cpu_s < 30
