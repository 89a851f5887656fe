"""The ranks that outlive their runs."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.studies import kept_ranks


def test_a_kept_model_is_never_exchanged_for_another_of_its_name(tmp_path: Path) -> None:
    path = tmp_path / "ranks.parquet"
    ranks = {split: np.array([1.0, 3.0, np.nan]) for split in ("validation", "test")}
    kept_ranks.keep(path, {("rsir", 1, 1): ranks})
    assert kept_ranks.keep(path, {("rsir", 1, 1): ranks}).keys() == {("rsir", 1, 1)}
    with pytest.raises(SystemExit, match=r"\('rsir', 1, 1\) with other ranks"):
        kept_ranks.keep(path, {("rsir", 1, 1): ranks | {"test": np.array([1.0, 2.0, np.nan])}})
