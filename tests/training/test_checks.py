"""What no fit can work on is refused before anything is trained; the rest of it is in the tests of what is asked."""

from pathlib import Path

import polars as pl
import pytest

from rsir_scale.config.file import resolve
from rsir_scale.data.dataset import open_dataset
from rsir_scale.data.prepare import prepare
from rsir_scale.errors import InputError
from rsir_scale.training.checks import check_fit


@pytest.mark.parametrize(("lengths", "judged"), [([2, 2, 2], False), ([2, 3, 2], True)])
def test_a_log_in_which_nobody_has_a_validation_item_is_refused(
    lengths: list[int], judged: bool, tmp_path: Path
) -> None:
    rows = [
        (f"u{user}", f"i{(user + step) % 4}", step) for user, length in enumerate(lengths) for step in range(length)
    ]
    frame = pl.DataFrame(
        rows, schema={"user_id": pl.String, "item_id": pl.String, "time": pl.Float64}, orient="row"
    ).with_row_index("order")
    prepare(frame.with_columns(pl.col("order").cast(pl.Int64)).lazy(), tmp_path / "data", min_count=0)
    dataset = open_dataset(tmp_path / "data")
    config = resolve({"data": {"path": dataset.path}, "training": {"loss": "cross_entropy"}})
    if judged:
        check_fit(config, dataset)
        return
    with pytest.raises(InputError, match=r"no validation item.*needs 3 interactions"):
        check_fit(config, dataset)
