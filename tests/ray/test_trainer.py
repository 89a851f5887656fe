"""The driver's wait for Ray Train ends with it, however it ends."""

from concurrent.futures import Future
from pathlib import Path

import pytest
from ray.exceptions import GetTimeoutError

from rsir_scale.storage.opening import open_store
from rsir_scale.training.trainer import _await


@pytest.mark.parametrize("error", [TimeoutError("of theirs"), GetTimeoutError("of Ray's"), ValueError("another")])
@pytest.mark.timeout(60)
def test_what_ended_the_training_is_raised_even_where_it_is_a_timeout(tmp_path: Path, error: Exception) -> None:
    done: Future[None] = Future()
    done.set_exception(error)
    with pytest.raises(type(error), match=str(error)):
        _await(done, open_store(tmp_path), "fit", lambda progress: None)
