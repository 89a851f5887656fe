"""Hostile settings: YAML files, overrides and values that `rsir plan` and `rsir run` refuse before they write."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.hostile.attack import GIB, assert_refused, call, call_apart, held
from tests.hostile.logs import put
from tests.loop.tiny_run import tiny_dataset


def _aliases(depth: int, width: int = 9) -> str:
    """`width` to the power of `depth` leaves in a few hundred bytes."""
    lines = ["a0: &a0 [lol]"]
    lines += [f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * width)}]" for level in range(1, depth)]
    return "\n".join([*lines, f"data: *a{depth - 1}"])


_MERGES = "x: &x {a: 1}\ndata: {<<: *x, path: p}"
# File → what the message must name.
FILES: dict[str, tuple[str | bytes, tuple[str, ...]]] = {
    "nothing": ("", ("NoneType",)),
    "a list": ("- data\n- model\n", ("list",)),
    "a word": ("data", ("str",)),
    "no YAML": ("data: [1, 2\n", ("is not YAML", "line")),
    "tabs": ("data:\n\tpath: x\n", ("is not YAML", "line 2")),
    "two documents": ("data: {path: x}\n---\ndata: {path: y}\n", ("is not YAML", "document")),
    "a tag that runs code": ("data: !!python/object/apply:os.system [id]\n", ("python/object/apply:os.system",)),
    "a tag of nobody's": ("data: !secret x\n", ("!secret",)),
    "aliases that explode": (_aliases(12), ("alias", "'a0'")),
    "one alias": ("model: &m {width: 8}\ntraining: *m\n", ("alias", "'m'")),
    "an alias of itself": ("data: &d {path: *d}\n", ("alias", "'d'")),
    "merged keys": (_MERGES, ("alias", "'x'")),
    "a key twice": ("data: {path: x}\nmodel: {width: 8, width: 16}\n", ("'width'", "line 2", "twice")),
    "a section twice": ("data: {path: x}\ndata: {path: y}\n", ("'data'", "line 2", "twice")),
    "a list as a key": ("? [a, b]\n: 1\n", ("line 1",)),
    "a number as a section": ("7: {path: x}\ndata: {path: x}\n", ("7",)),
    "null as a key": ("data: {path: x, ~: 1}\n", ("data.None",)),
    "brackets without end": ("data: " + "[" * 50_000, ("is not YAML", "deep")),
    "flow maps without end": ("{a: " * 10_000, ("is not YAML", "deep")),
    "deep and closed": ("data: " + "[" * 5000 + "]" * 5000, ("is not YAML", "deep")),
    "an integer of 5000 digits": ("data: {path: x}\nseed: " + "9" * 5000, ("is not YAML", "digits")),
    "NUL": (b"data: {path: x}\nseed: 1\0\n", ("is not YAML", "#x0000")),
    "a control character": (b"data: {path: x}\nseed: \x1b[31m1\n", ("is not YAML", "#x001b")),
    "Latin-1": ("data: {path: é}\n".encode("latin-1"), ("utf-8", "0xe9")),
    "UTF-16": ("data: {path: x}\n".encode("utf-16"), ("utf-8", "0xff")),
    "bytes of anything": (bytes(range(128, 256)), ("utf-8",)),
    "two megabytes": ("#" * (2 << 20), ("65536 bytes",)),
    "a line of 10^7 characters": ("data: " + "x" * 10**7, ("65536 bytes",)),
    "a date for a number": ("data: {path: x}\nseed: 2020-01-01\n", ("seed", "2020")),
    "a date for a path": ("data: {path: 2020-01-01}\n", ("data.path", "2020")),
    "bytes for a path": ("data: {path: !!binary aGk=}\n", ("line 1", "binary")),
    "a set for a section": ("data: !!set {path}\n", ("line 1", "set")),
    "a list for a section": ("data: [x]\n", ("data", "['x']")),
    "a text for a section": ("data: {path: x}\nmodel: wide\n", ("model", "'wide'")),
    "a list of a million for a number": (
        "data: {path: x}\nseed: [" + "1," * 20_000 + "]\n",
        ("seed", "[1, 1, 1"),
    ),
    "a long text for a number": ("data: {path: x}\nseed: " + "x" * 50_000 + "\n", ("seed", "xxx")),
    "a thousand unknown keys": (
        "data: {path: x}\nmodel: {" + ", ".join(f"k{n}: 1" for n in range(1000)) + "}\n",
        ("model.k0", "more"),
    ),
    "an unknown key with escapes": ('data: {path: x}\n"\\e[31mred": 1\n', (r"\x1b[31mred",)),
}


@pytest.fixture(scope="module")
def data() -> str:
    return str(tiny_dataset().path)


@pytest.mark.timeout(150)
@pytest.mark.parametrize(("text", "named"), FILES.values(), ids=FILES)
def test_a_hostile_config_is_refused_by_value(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, text: str | bytes, named: tuple[str, ...]
) -> None:
    config = put(tmp_path, "config.yaml", text.encode() if isinstance(text, str) else text)
    before = held(tmp_path)
    ended = call(capfd, "run", config, "--run-dir", tmp_path / "run")
    assert_refused(ended, 2, named)
    assert held(tmp_path) == before


HUGE = "9" * 25
# Overrides of a good config → what the message must name.
VALUES: dict[str, tuple[str, tuple[str, ...]]] = {
    "a negative integer": ("model.width=-64", ("model.width", "-64")),
    "zero": ("data.max_length=0", ("data.max_length", "0")),
    "an integer beyond all": (f"training.batch_size={HUGE}", ("training.batch_size", HUGE)),
    "a width beyond memory": ("model.width=1000000000", ("model.width", "1000000000")),
    "blocks beyond memory": ("model.blocks=1000000000", ("model.blocks", "1000000000")),
    "a context beyond memory": ("data.max_length=1000000000", ("data.max_length", "1000000000")),
    "iterations without end": ("loop.iterations=1000000000", ("loop.iterations", "1000000000")),
    "trials without end": ("generation.trials_per_sequence=1000000000000", ("trials_per_sequence", "1000000000000")),
    "a float for an integer": ("model.width=64.5", ("model.width", "64.5")),
    "NaN": ("training.learning_rate=.nan", ("training.learning_rate", "nan")),
    "infinity": ("training.learning_rate=.inf", ("training.learning_rate", "inf")),
    "a rate above all floats": ("training.learning_rate=1.0e+400", ("training.learning_rate", "inf")),
    "a truth value for a number": ("model.blocks=yes", ("model.blocks", "True")),
    "a number for a truth value": ("training.use_gpu=7", ("training.use_gpu", "7")),
    "a date for a number": ("model.width=2020-01-01", ("model.width", "2020")),
    "a list for a number": ("seed=[1, 2]", ("seed", "[1, 2]")),
    "a map for a number": ("seed={a: 1}", ("seed", "{'a': 1}")),
    "a seed below zero": ("seed=-1", ("seed", "-1")),
    "a seed of 64 bits": (f"seed={2**64}", ("seed", str(2**64))),
    "a seed of 5000 digits": (f"seed={'9' * 5000}", ("seed", "digits")),
    "an empty path": ("data.path=", ("data.path", "None")),
    "a path with NUL": ('data.path="a\\0b"', (r"a\x00b",)),
    "a path of 10000 characters": (f"data.path={'x' * 10_000}", ("xxxx",)),
    "a path of 10000 folders": (f"data.path={'x/' * 10_000}", ("x/x/",)),
    "a path that is a device": ("data.path=/dev/null", ("/dev/null",)),
    "an address of nobody's": ("data.path=gopher://x/y", ("gopher",)),
    "an address without a bucket": ("data.path=s3://", ("s3://",)),
    "an alias": ("seed=*a", ("seed=*a", "alias")),
    "an anchor that is its own alias": ("model.options=&a [*a]", ("model.options=", "alias")),
    "brackets without end": ("seed=" + "[" * 50_000, ("seed=[[[", "deep")),
    "a tag that runs code": ("seed=!!python/name:os.system", ("python/name:os.system",)),
    "no value": ("seed", ("'seed'", "section.key=value")),
    "three levels": ("model.a.b=1", ("'model.a.b=1'",)),
    "a key of escapes": ("model.\x1b[31m=1", (r"\x1b[31m",)),
    "a backbone that is a path": ("model.backbone=../../evil.py", ("../../evil.py",)),
    "a backbone that is a call": ("model.backbone=os:system('id')", ("os:system('id')",)),
    "a backbone that is not there": ("model.backbone=no.such.module:Class", ("no.such.module",)),
    "a backbone that is a function": ("model.backbone=os:system", ("os:system", "subclass")),
    "a teacher that is not there": ("generation.teacher=/no/such/run", ("/no/such/run",)),
    "a teacher with NUL": ('generation.teacher="a\\0b"', (r"a\x00b",)),
    "a teacher that is a file": ("generation.teacher=/dev/null", ("/dev/null",)),
    "vectors that are not there": (
        "model={backbone: semantic_id, item_vectors: /no/such.parquet}",
        ("/no/such.parquet",),
    ),
    "vectors that are a device": ("model={backbone: semantic_id, item_vectors: /dev/null}", ("/dev/null",)),
}


@pytest.mark.timeout(150)
@pytest.mark.parametrize(("override", "named"), VALUES.values(), ids=VALUES)
def test_a_hostile_value_is_refused_with_its_key(
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    data: str,
    override: str,
    named: tuple[str, ...],
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    config = put(
        tmp_path,
        "config.yaml",
        f"data: {{path: {data}, max_length: 8}}\nmodel: {{width: 16}}\ntraining: {{loss: cross_entropy}}\n".encode(),
    )
    before = held(tmp_path)
    ended = call(capfd, "run", config, "--run-dir", tmp_path / "run", "--set", override)
    assert_refused(ended, 2, named)
    assert held(tmp_path) == before


PLACES: dict[str, tuple[Callable[[Path], object], tuple[str, ...]]] = {
    "nothing": (lambda at: None, ("config.yaml",)),
    "a folder": (lambda at: at.mkdir(), ("config.yaml",)),
    "a link to itself": (lambda at: at.symlink_to(at.name), ("config.yaml",)),
    "a device without end": (lambda at: at.symlink_to("/dev/zero"), ("config.yaml",)),
}


@pytest.mark.timeout(150)
@pytest.mark.parametrize(("make", "named"), PLACES.values(), ids=PLACES)
def test_a_config_that_is_no_file_is_refused(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, make: Callable[[Path], object], named: tuple[str, ...]
) -> None:
    make(tmp_path / "config.yaml")
    ended = call(capfd, "plan", tmp_path / "config.yaml")
    assert_refused(ended, 2, named)


BOMBS = {
    "aliases that explode": (_aliases(30), "alias"),
    "brackets without end": ("data: " + "[" * 60_000, "deep"),
    "keys without end": ("data: {" + ", ".join(f"k{n}: 1" for n in range(6_000)) + "}", "data.k0"),
}


@pytest.mark.timeout(150)
@pytest.mark.parametrize(("text", "named"), BOMBS.values(), ids=BOMBS)
def test_a_bomb_of_yaml_is_refused_in_bounded_memory_and_time(tmp_path: Path, text: str, named: str) -> None:
    config = put(tmp_path, "config.yaml", text.encode())
    ended = call_apart(tmp_path, "run", config, "--run-dir", tmp_path / "run")
    assert_refused(ended, 2, (named,))
    assert ended.peak_bytes < GIB
    assert ended.cpu_s < 20
    assert sorted(held(tmp_path)) == ["config.yaml"]
