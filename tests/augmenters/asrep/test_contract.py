"""ASReP keeps the contract of an augmenter, on reversed models that were fitted for an update or two."""

from typing import ClassVar

from tests.augmenters.contract import AugmenterContract, same_rows


class TestAsrep(AugmenterContract):
    name = "asrep"
    options: ClassVar = {"items": 3, "shorter_than": 13, "width": 8, "heads": 2, "blocks": 1, "epochs": 2}
    refused: ClassVar = [
        {"items": 0},
        {"items": True},
        {"shorter_than": 1},
        {"epochs": 0},
        {"patience": 0},
        {"learning_rate": 0.0},
        {"width": 0},
        {"blocks": 0},
        {"heads": 3},
        {"dropout": 1.0},
        {"length": 16},
        {"leaky": True},
        {"targets": 2},
    ]

    def test_another_seed_or_iteration_gives_other_rows_where_rows_are_drawn(self) -> None:
        # The suite's own source holds every training item, so that nothing could be put before it.
        (one, its), (_, other) = (self.made(self.world(self.seeds[0], run_seed=seed)) for seed in (7, 8))
        assert not same_rows(its.write(one.sources), other.write(one.sources))
