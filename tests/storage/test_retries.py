"""A request is made again while the store is out of order, and never where it understood and refused."""

import pytest
from obstore.exceptions import GenericError

from rsir_scale.storage import retries
from rsir_scale.storage.retries import persist


class Failing:
    """A request that fails with a status twice, and then is answered."""

    def __init__(self, status: int | None) -> None:
        self.status, self.made = status, 0

    def __call__(self) -> str:
        self.made += 1
        if self.made <= 2:
            raise GenericError("connection closed" if self.status is None else f"… status code: {self.status} …")
        return "answer"


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retries.time, "sleep", lambda _: None)


@pytest.mark.parametrize("status", [408, 409, 429, 500, 503, None])
def test_what_passes_is_tried_again(status: int | None) -> None:
    request = Failing(status)
    assert (persist(request, retry_s=60), request.made) == ("answer", 3)


@pytest.mark.parametrize("status", [400, 403, 404, 412])
def test_what_the_store_refuses_is_told_at_once(status: int) -> None:
    request = Failing(status)
    with pytest.raises(GenericError, match=str(status)):
        persist(request, retry_s=60)
    assert request.made == 1


def test_nothing_is_tried_beyond_the_time_for_it() -> None:
    request = Failing(503)
    with pytest.raises(GenericError, match="503"):
        persist(request, retry_s=0.0)
    assert request.made == 1
