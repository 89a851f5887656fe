"""A handful of starts of `benchmarks/faults/two_drivers.py`: two drivers, at random moments, on one run directory."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from benchmarks.faults import two_drivers
from benchmarks.faults.small_run import small_run
from devtools.s3_server import S3Server
from rsir_scale.runs import lease


def without_lease(logged: Callable[..., None], *arguments: Any) -> None:
    """Drive without asking anybody, in a process of its own."""
    for name in ("acquire", "assert_held", "release"):
        setattr(lease.Lease, name, lambda self: None)
    logged(*arguments)


@pytest.mark.slow
def test_two_drivers_never_mix_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    told = tmp_path / "told.json"
    monkeypatch.setattr("sys.argv", ["two_drivers", "run", "--starts", "3", "--seed", "8", "--json", str(told)])
    two_drivers.main()
    found = json.loads(told.read_text())
    assert found["summary"]["protocol"]["mixed"] == 0
    assert found["summary"]["protocol"]["refused"] > 0
    assert [row["faults"] for row in found["rows"]] == [[]] * 3


@pytest.mark.slow
def test_two_drivers_never_mix_a_run_in_a_bucket(server: S3Server, bucket: str, tmp_path: Path) -> None:
    small = small_run(tmp_path / "market", users=60, items=40, settings=two_drivers.SETTINGS)
    server.fail(0.02, seed=2)
    start = two_drivers.Start(second_s=0.01, kill_s=1.0)
    row = two_drivers.one_start(small, start, f"{bucket}/run", tmp_path / "start", two_drivers.Fork)
    assert row["faults"] == []


@pytest.mark.slow
def test_a_start_of_two_drivers_is_not_mixed(tmp_path: Path) -> None:
    small = small_run(tmp_path / "market", users=60, items=40, settings=two_drivers.SETTINGS)
    start = two_drivers.Start(second_s=0.15 * small.seconds, kill_s=None)
    row = two_drivers.one_start(small, start, str(tmp_path / "run"), tmp_path / "start", two_drivers.Fork)
    assert row["faults"] == []


@pytest.mark.slow
def test_drivers_that_ask_nobody_are_seen_to_mix_a_run(tmp_path: Path) -> None:
    small = small_run(tmp_path / "market", users=60, items=40, settings=two_drivers.SETTINGS)
    begin = partial(two_drivers.Fork, drive=partial(without_lease, two_drivers.logged))

    def mixes(share: float) -> bool:
        start = two_drivers.Start(second_s=share * small.seconds, kill_s=None)
        row = two_drivers.one_start(small, start, str(tmp_path / f"run-{share}"), tmp_path / f"start-{share}", begin)
        return any("lie among each other" in fault for fault in row["faults"])

    # How long a run takes differs: where the second came too late, it comes earlier.
    assert any(mixes(share) for share in (0.3, 0.15, 0.05))
