"""A verb parses the settings of a run once and opens its dataset once, and hands both on."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import pytest

from rsir_scale.cli.main import main
from rsir_scale.runs import layout
from rsir_scale.storage.local import LocalStore
from tests.loop.tiny_run import tiny_run

DATASET = "dataset.json"
# How often a verb reads the run's settings and the dataset's facts. To go on with a run is to read its settings, and
# to hold them to what the store has by then.
READS: dict[str, tuple[Callable[[Path], list[str]], int, int]] = {
    "status": (lambda _: [], 1, 0),
    "clean": (lambda _: [], 0, 0),
    "verify": (lambda _: [], 1, 1),
    "evaluate": (lambda _: ["--iteration", "1"], 1, 1),
    "export": (lambda out: ["--out", str(out / "data.parquet")], 1, 1),
    "recommend": (lambda out: ["--out", str(out / "items.csv"), "--top", "3"], 1, 1),
    "resume": (lambda _: [], 2, 1),
}


@pytest.mark.parametrize("verb", READS)
def test_a_verb_reads_settings_and_dataset_once(verb: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    run, (arguments, settings, facts) = tiny_run().copy_to(tmp_path / "run"), READS[verb]
    read: Counter[str] = Counter()
    opened = LocalStore.open_read

    def counting(store: LocalStore, key: str) -> BinaryIO:
        read[key] += 1
        return opened(store, key)

    monkeypatch.setattr(LocalStore, "open_read", counting)
    with pytest.raises(SystemExit) as end:
        main([verb, str(run.path), *arguments(tmp_path)])
    assert not end.value.code
    assert (read[layout.RUN_CONFIG], read[DATASET]) == (settings, facts)
