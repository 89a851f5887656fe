"""Hostile run directories: what was changed behind the engine's back is refused by every command that meets it."""

import json
import shutil
from pathlib import Path

import pytest

from tests.hostile.attack import assert_refused, call, held
from tests.hostile.damage import (
    COMMIT,
    GENERATION,
    MANIFEST,
    METRICS,
    MODEL,
    PLAN,
    Damage,
    bytes_of,
    cut,
    edited,
    folder_for,
    linked,
    moved_out,
    pipe_for,
    put,
)
from tests.loop.tiny_run import tiny_run

HASH = "0" * 64
COMMANDS: dict[str, tuple[str, ...]] = {
    "status": ("status", "{run}", "--json"),
    "verify": ("verify", "{run}", "--json"),
    "export": ("export", "{run}", "--out", "{out}.parquet"),
    "recommend": ("recommend", "{run}", "--out", "{out}.csv"),
    "evaluate": ("evaluate", "{run}", "--iteration", "0"),
    "clean": ("clean", "{run}", "--json"),
    "resume": ("resume", "{run}"),
}
READERS = ("status", "export", "recommend", "resume")
# What is done to the run; the commands that must refuse it; what they must name.
Case = tuple[Damage, tuple[str, ...], tuple[str, ...]]
RECORDS: dict[str, Case] = {
    f"{key}: {name}": (damage, commands, (key, *named))
    for key, commands in (
        (MANIFEST, READERS),
        (GENERATION, READERS),
        (MODEL, ("evaluate",)),
        (METRICS, ("evaluate",)),
        ("provenance.json", ("status", "export", "recommend", "evaluate", "resume")),
        ("run.yaml", (*READERS, "verify", "evaluate")),
    )
    for name, damage, named in (
        ("empty", bytes_of(key, b""), ()),
        ("cut", cut(key), ()),
        ("NUL", bytes_of(key, b"\0" * 100), ()),
        ("UTF-16", bytes_of(key, "{}".encode("utf-16")), ()),
        ("bytes of anything", bytes_of(key, bytes(range(256))), ()),
        ("brackets without end", bytes_of(key, b"[" * 5000), ()),
        ("a list", bytes_of(key, b"[1, 2]"), ()),
        ("a number", bytes_of(key, b"7"), ()),
        ("null", bytes_of(key, b"null"), ()),
        ("NaN", bytes_of(key, b"NaN"), ()),
        ("another file's record", bytes_of(key, b'{"a": {"b": 1}}'), ()),
        ("a link out of the run", moved_out(key), ("symbolic link",)),
        ("a link to a device", linked(key, "/dev/zero"), ("symbolic link",)),
        ("a link to itself", linked(key, Path(key).name), ()),
        ("a folder", folder_for(key), ()),
        ("a pipe", pipe_for(key), ()),
    )
}
OUTSIDE = ("../../../etc/passwd", "/etc/passwd", "iteration=000/../../x", "iteration=000//x", "iteration=000/a\0b", "")
MANIFESTS: dict[str, Case] = {
    "a file outside": (edited(MANIFEST, put("files", 0, "key", value="../x")), READERS, ("../x",)),
    "a file of another iteration": (
        edited(MANIFEST, put("files", 0, "key", value="iteration=001/metrics.json")),
        READERS,
        ("iteration=001/metrics.json",),
    ),
    "a negative count": (edited(MANIFEST, put("files", 0, "bytes", value=-1)), READERS, ("files.0.bytes",)),
    "a count beyond all": (edited(MANIFEST, put("files", 0, "bytes", value=10**30)), READERS, ("files.0.bytes",)),
    "a hash of another length": (
        edited(MANIFEST, put("files", 0, "sha256", value="abc")),
        READERS,
        ("files.0.sha256",),
    ),
    "a kind of file that there is not": (
        edited(MANIFEST, put("files", 0, "kind", value="exe")),
        READERS,
        ("files.0.kind",),
    ),
    "another parent": (edited(MANIFEST, put("parent_sha256", value=HASH)), READERS, (HASH,)),
    "another iteration": (edited(MANIFEST, put("iteration", value=7)), READERS, ("iteration 7",)),
    "a version of tomorrow": (edited(MANIFEST, put("format_version", value=99)), READERS, ("format_version 99",)),
    "an unknown key": (edited(MANIFEST, put("surprise", value=1)), READERS, ("surprise",)),
    "a metric that is NaN": (
        edited(MANIFEST, put("metrics", "validation/NDCG@20", value=float("nan"))),
        READERS,
        ("validation/NDCG@20=nan",),
    ),
    "a metric that is text": (
        edited(MANIFEST, put("metrics", "validation/NDCG@20", value="best")),
        READERS,
        ("'best'",),
    ),
    "a metric that is null": (
        edited(MANIFEST, put("metrics", "validation/NDCG@20", value=None)),
        READERS,
        ("metrics",),
    ),
    "without the metric that ends a run": (
        edited("iteration=002/MANIFEST.json", lambda record: record["metrics"].pop("validation/NDCG@20")),
        ("resume",),
        ("iteration=002/MANIFEST.json", "validation/NDCG@20"),
    ),
    "no files": (edited(MANIFEST, put("files", value=[])), READERS, ("iteration=000/generation",)),
    "a generation of another parent": (edited(GENERATION, put("parent_sha256", value=HASH)), READERS, (HASH,)),
    "a generation without files": (edited(GENERATION, put("files", value=[])), READERS, ("iteration=001",)),
    "a generation in a model's place": (
        lambda folder: shutil.copy(folder / GENERATION, folder / MANIFEST),
        READERS,
        (MANIFEST,),
    ),
} | {
    f"a part outside, {key!r}": (
        edited(COMMIT, put("part", "key", value=key)),
        ("verify",),
        (COMMIT,),
    )
    for key in OUTSIDE
}
PLANS: dict[str, Case] = {
    "a slice of a file that there is not": (
        edited(PLAN, put("shards", 0, "slices", 0, "file", value=99)),
        ("verify",),
        (PLAN,),
    ),
    "a slice beyond the file": (
        edited(PLAN, put("shards", 0, "slices", 0, "rows", value=10**12)),
        ("verify",),
        (PLAN,),
    ),
    "no shards": (edited(PLAN, put("shards", value=[])), ("verify",), (PLAN,)),
    "ids beyond all": (edited(PLAN, put("first_sequence_id", value=2**62)), ("verify",), (PLAN,)),
    "a commit of another shard": (edited(COMMIT, put("shard", value=1)), ("verify",), (COMMIT,)),
    "rows from nowhere": (edited(COMMIT, put("counts", "rows_kept", value=10**9)), ("verify",), (COMMIT,)),
}
LEASES: dict[str, Case] = {
    "a lease of rubbish": (bytes_of("lease/00000.json", b"{"), ("clean", "resume"), ("lease/00000.json",)),
    "a lease that is a link": (moved_out("lease/00000.json"), ("clean", "resume"), ("symbolic link",)),
    "a lease at the end of time": (
        edited("lease/00000.json", lambda lease: lease.update(released=False, expires_at=1e300, since=1e300)),
        ("clean", "resume"),
        ("1e+300",),
    ),
}
RUNS: dict[str, Case] = {
    "run.yaml of aliases": (
        bytes_of("run.yaml", b"data: &d {path: x}\nmodel: *d\n"),
        (*READERS, "verify", "evaluate"),
        ("alias",),
    ),
    "run.yaml with a tag that runs code": (
        bytes_of("run.yaml", b"data: !!python/object/apply:os.system [id]\n"),
        (*READERS, "verify", "evaluate"),
        ("python/object/apply",),
    ),
}
CASES = RECORDS | MANIFESTS | PLANS | LEASES | RUNS
# Of each record a third of the damages, so that each damage befalls two records; the others with `make test-all`.
OTHERS = {name for number, name in enumerate(RECORDS) if (number + number // 16) % 3}


@pytest.mark.timeout(150)
@pytest.mark.parametrize(
    ("damage", "commands", "named"),
    [pytest.param(*case, id=name, marks=pytest.mark.slow if name in OTHERS else ()) for name, case in CASES.items()],
)
def test_a_run_that_was_changed_is_refused_and_left_alone(
    capfd: pytest.CaptureFixture[str],
    tmp_path: Path,
    damage: Damage,
    commands: tuple[str, ...],
    named: tuple[str, ...],
) -> None:
    run = tiny_run().copy_to(tmp_path / "run").path
    damage(run)
    before = held(tmp_path)
    faults = []
    for command in commands:
        places = {"run": run, "out": tmp_path / "out"}
        ended = call(capfd, *(argument.format(**places) for argument in COMMANDS[command]))
        try:
            if command == "verify" and ended.out:
                _assert_reported(ended.code, ended.out, ended.err, named)
            else:
                assert_refused(ended, 4, named)
            assert _without_driver(held(tmp_path)) == _without_driver(before), "something was left or changed"
        except AssertionError as error:
            faults.append(f"{command}: {error}")
        for left in tmp_path.glob("out.*"):
            left.unlink()
    assert not faults, "\n".join(fault[:600] for fault in faults)


def _without_driver(names: dict[str, str]) -> dict[str, str]:
    """All but what any driver leaves: who held the lease, and what happened."""
    return {name: what for name, what in names.items() if not name.startswith(("run/lease", "run/events.jsonl"))}


def _assert_reported(code: int, out: str, err: str, named: tuple[str, ...]) -> None:
    report = json.loads(out)
    assert (code, report["ok"], err) == (4, False, "")
    for text in named:
        assert text in out.replace("\\\\", "\\"), f"{text!r} is not named: {out[:2000]}"
