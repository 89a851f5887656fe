"""Hostile arguments: wrong, huge and strange values on the command line itself."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.hostile.attack import assert_refused, call, held
from tests.loop.tiny_run import tiny_run

LONG = "x" * 100_000
# Arguments → exit code, and what the message must name. {run} is a run, {data} a dataset, {log} a log, {new} nothing.
CASES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "no such verb": (("explode",), ("explode",)),
    "no such verb of data": (("data", "explode"), ("explode",)),
    "no run": (("run",), ("CONFIG",)),
    "no such option": (("status", "{run}", "--explode"), ("--explode",)),
    "an argument too many": (("status", "{run}", "and", "more"), ("and more",)),
    "an option without its value": (("recommend", "{run}", "--out"), ("--out",)),
    "an iteration that is text": (("evaluate", "{run}", "--iteration", "one"), ("--iteration", "integer")),
    "an iteration that is a float": (("evaluate", "{run}", "--iteration", "1.5"), ("--iteration", "integer")),
    "a negative iteration": (("evaluate", "{run}", "--iteration", "-1"), ("iteration -1",)),
    "an iteration beyond all": (("evaluate", "{run}", "--iteration", "9" * 40), ("iteration 9999",)),
    "an iteration of 5000 digits": (("evaluate", "{run}", "--iteration", "9" * 5000), ("--iteration", "integer")),
    "a negative iteration to export": (("export", "{run}", "--out", "{new}", "--iteration", "-1"), ("iteration -1",)),
    "an iteration beyond the run's": (("export", "{run}", "--out", "{new}", "--iteration", "77"), ("iteration 77",)),
    "no recommendations": (("recommend", "{run}", "--top", "0", "--out", "{new}.csv"), ("top=0",)),
    "fewer than none": (("recommend", "{run}", "--top", "-3", "--out", "{new}.csv"), ("top=-3",)),
    "more than there are": (("recommend", "{run}", "--top", str(10**12), "--out", "{new}.csv"), ("top=1000000000000",)),
    "an output of a strange kind": (("recommend", "{run}", "--out", "{new}.exe"), (".exe",)),
    "an output that is there": (("recommend", "{run}", "--out", "{log}.csv"), ("already exists",)),
    "an output below a file": (("recommend", "{run}", "--out", "{log}/x.csv"), ("x.csv",)),
    "an output with NUL": (("recommend", "{run}", "--out", "{new}\0.csv"), (r"\x00.csv", "null byte")),
    "an output of 100000 characters": (("recommend", "{run}", "--out", LONG + ".csv"), ("xxx",)),
    "an export in a format of nobody's": (("export", "{run}", "--format", "xml", "--out", "{new}"), ("'xml'",)),
    "an export of less than nothing": (
        ("export", "{run}", "--out", "{new}", "--synthetic-share", "-1"),
        ("synthetic_share=-1",),
    ),
    "an export of a share that is text": (
        ("export", "{run}", "--out", "{new}", "--synthetic-share", "half"),
        ("--synthetic-share", "number"),
    ),
    "an export over a run": (("export", "{run}", "--out", "{run}"), ("already exists",)),
    "users that are not there": (("recommend", "{run}", "--users", "{new}", "--out", "{new}.csv"), ("new",)),
    "users that are no text": (
        ("recommend", "{run}", "--users", "{binary}", "--out", "{new}.csv"),
        ("binary", "UTF-8"),
    ),
    "users without end": (("recommend", "{run}", "--users", "/dev/zero", "--out", "{new}.csv"), ("/dev/zero",)),
    "users of nobody's": (("recommend", "{run}", "--users", "{log}", "--out", "{new}.csv"), ("'1 2'",)),
    "a run that is a file": (("status", "{log}"), ("log", "not a folder")),
    "a run that is not there": (("status", "{new}"), ("is no run",)),
    "a run of nothing": (("status", ""), ("is no run",)),
    "a run with NUL": (("status", "a\0b"), (r"a\x00b",)),
    "a run of 100000 characters": (("status", LONG), ("xxx",)),
    "a run that is a link to itself": (("status", "{loop}"), ("loop",)),
    "a run at an address of nobody's": (("status", "gopher://x/y"), ("gopher",)),
    "a run in no bucket": (("status", "s3://"), ("s3://",)),
    "a run that is a dataset": (("verify", "{data}"), ("is no run",)),
    "a run in a folder of others": (("run", "{config}", "--run-dir", "{data}"), ("is no run, but holds",)),
    "a run that is a log": (("run", "{config}", "--run-dir", "{log}"), ("log",)),
    "cleaning what is no run": (("clean", "{data}"), ("is no run",)),
    "resuming what is no run": (("resume", "{new}"), ("is no run",)),
    "a dataset that is a file": (("data", "stats", "{log}"), ("log", "not a folder")),
    "a dataset that is a run": (("data", "stats", "{run}"), ("dataset.json",)),
    "a dataset with NUL": (("data", "stats", "a\0b"), (r"a\x00b",)),
    "a format of nobody's": (("data", "import", "--format", "xml", "{log}", "--out", "{new}"), ("'xml'",)),
    "a negative k": (("data", "import", "--format", "pairs", "{log}", "--out", "{new}", "--min-count", "-1"), ("-1",)),
    "a k beyond all": (
        ("data", "import", "--format", "pairs", "{log}", "--out", "{new}", "--min-count", str(10**18)),
        ("min_count=1000000000000000000",),
    ),
    "a k of 40 digits": (
        ("data", "import", "--format", "pairs", "{log}", "--out", "{new}", "--min-count", "9" * 40),
        ("99999999",),
    ),
    "a length of two": (
        ("data", "import", "--format", "pairs", "{log}", "--out", "{new}", "--max-length", "2"),
        ("=2",),
    ),
    "columns of a format that has its own": (
        ("data", "import", "--format", "pairs", "{log}", "--out", "{new}", "--user-column", "u"),
        ("--user-column",),
    ),
    "a column with escapes": (
        ("data", "import", "--format", "csv", "{log}", "--out", "{new}", "--user-column", "\x1b[31m"),
        (r"'\x1b[31m'",),
    ),
    "an import over its own log": (
        ("data", "import", "--format", "pairs", "{log}", "--out", "{log}"),
        ("already exists",),
    ),
    "an import below a file": (("data", "import", "--format", "pairs", "{log}", "--out", "{log}/x"), ("x",)),
    "an import to a path with NUL": (("data", "import", "--format", "pairs", "{log}", "--out", "a\0b"), (r"a\x00b",)),
    "an import to 100000 characters": (("data", "import", "--format", "pairs", "{log}", "--out", LONG), ("xxx",)),
    "an import of a path with NUL": (
        ("data", "import", "--format", "pairs", "a\0b", "--out", "{new}"),
        (r"a\x00b", "null byte"),
    ),
    "an import of 100000 characters": (("data", "import", "--format", "pairs", LONG, "--out", "{new}"), ("xxx",)),
    "an import to nobody's address": (
        ("data", "import", "--format", "pairs", "{log}", "--out", "gopher://x", "--min-count", "0"),
        ("gopher",),
    ),
    "a market without users": (("data", "synthesize", "--users", "0", "--items", "9", "--out", "{new}"), ("users=0",)),
    "a market without items": (
        ("data", "synthesize", "--users", "9", "--items", "-1", "--out", "{new}"),
        ("items=-1",),
    ),
    "a market of all": (
        ("data", "synthesize", "--users", "9", "--items", str(10**18), "--out", "{new}"),
        ("items=1000000000000000000",),
    ),
    "a market of too many": (
        ("data", "synthesize", "--users", str(10**18), "--items", "9", "--out", "{new}"),
        ("users=1000000000000000000",),
    ),
    "a seed below zero": (
        ("data", "synthesize", "--users", "9", "--items", "9", "--seed", "-1", "--out", "{new}"),
        ("seed=-1",),
    ),
    "a seed beyond 64 bits": (
        ("data", "synthesize", "--users", "9", "--items", "9", "--seed", str(2**70), "--out", "{new}"),
        (str(2**70),),
    ),
    "a log of nobody's": (("data", "fetch", "netflix", "--out", "{new}"), ("netflix",)),
}


@pytest.mark.timeout(150)
@pytest.mark.parametrize(("arguments", "named"), CASES.values(), ids=CASES)
def test_hostile_arguments_are_refused_with_their_value(
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    arguments: tuple[str, ...],
    named: tuple[str, ...],
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    # What is written in spite of all would lie here.
    monkeypatch.chdir(tmp_path)
    data, run = tiny_run().dataset.path, tiny_run().copy_to(tmp_path / "run").path
    (tmp_path / "log").write_text("1 2\n" * 5)
    (tmp_path / "log.csv").write_text("user_id,item_id\n1,2\n")
    (tmp_path / "binary").write_bytes(bytes(range(128, 256)))
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "config.yaml").write_text(f"data: {{path: {data}, max_length: 8}}\ntraining: {{loss: cross_entropy}}\n")
    places = {name: tmp_path / name for name in ("log", "binary", "loop", "new")}
    places |= {"run": run, "data": data, "config": tmp_path / "config.yaml"}
    before = held(tmp_path)
    ended = call(capfd, *(argument.format(**places) for argument in arguments))
    assert_refused(ended, 2, named)
    assert held(tmp_path) == before


OUTPUTS: dict[str, Callable[[Path], object]] = {
    "a file": lambda at: at.write_text("mine"),
    "a folder with something in it": lambda at: (at.mkdir(), (at / "mine").write_text("mine")),
    "a link to nothing": lambda at: at.symlink_to("nowhere"),
    "a link to a folder": lambda at: ((at.parent / "mine").mkdir(), at.symlink_to("mine")),
    "a pipe": os.mkfifo,
}


@pytest.mark.timeout(150)
@pytest.mark.parametrize("make", OUTPUTS.values(), ids=OUTPUTS)
@pytest.mark.parametrize(
    "arguments",
    [
        ("export", "{run}", "--out", "{out}"),
        ("export", "{run}", "--format", "recbole", "--out", "{out}"),
        ("data", "import", "--format", "pairs", "{log}", "--min-count", "0", "--out", "{out}"),
        ("data", "synthesize", "--users", "9", "--items", "9", "--out", "{out}"),
    ],
    ids=" ".join,
)
def test_what_is_there_is_never_written_over(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, arguments: tuple[str, ...], make: Callable[[Path], object]
) -> None:
    log = tmp_path / "log"
    log.write_text("1 2\n" * 5)
    make(tmp_path / "out")
    places = {"run": tiny_run().path, "out": tmp_path / "out", "log": log}
    before = held(tmp_path)
    ended = call(capfd, *(argument.format(**places) for argument in arguments))
    assert_refused(ended, 2, (str(tmp_path / "out"),))
    assert held(tmp_path) == before
