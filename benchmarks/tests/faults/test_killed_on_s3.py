"""What `killed_on_s3` does to a run, here to one without Ray, and what it calls amiss."""

import sys
from pathlib import Path

import pytest

from benchmarks.faults import killed_on_s3
from benchmarks.faults.small_run import compare, is_golden, small_run
from benchmarks.faults.two_drivers import SETTINGS
from devtools.s3_server import S3Server
from rsir_scale.storage.opening import open_store

ROOT = Path(__file__).parents[3]
_DRIVE = """
import sys
from benchmarks.faults.small_run import drive
from rsir_scale.config.settings import Config
drive(Config.model_validate_json(sys.argv[1]), sys.argv[2])
"""


@pytest.mark.slow
def test_a_kill_falls_where_it_was_awaited_and_costs_nothing(
    server: S3Server, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = small_run(tmp_path / "market", users=150, items=60, settings=SETTINGS)
    store = open_store(f"{bucket}/run")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setattr(killed_on_s3, "_WITHIN_S", {killed_on_s3.GENERATION: 0.0})
    server.fail(0.02, seed=4)
    words = [sys.executable, "-c", _DRIVE, small.config.model_dump_json(), store.root]
    driven = killed_on_s3.Driven(words, store, tmp_path / "log", seed=0)
    driven.to_the_end(((killed_on_s3.GENERATION, 0),))
    assert driven.ends == [-9, 0]
    assert [kill["awaited"] for kill in driven.kills] == ["generation 0"]
    # On a machine that is busy otherwise the kill may come after the last shard.
    assert driven.kills[0]["fell_in"] in ("generating 0", "training 1")
    assert is_golden(compare(small, store.root))


def test_a_row_that_was_lost_and_a_kill_that_was_not_are_amiss() -> None:
    golden = {
        **dict.fromkeys(("rows_lost", "rows_doubled", "rows_changed"), 0),
        **dict.fromkeys(("same_digest", "verified"), True),
    }
    row = {"driver_ends": {"done": 1, "killed": 2}, **golden, "after_clean": golden}
    assert killed_on_s3.amiss(row, kills=2, wanted=2) == []
    odd = row | {"rows_lost": 1, "driver_ends": {"done": 1, "exit code 4": 1}}
    assert killed_on_s3.amiss(odd, kills=1, wanted=2) == [
        "not the golden run",
        "1 kills of 2",
        "drivers ended with exit code 4",
    ]
