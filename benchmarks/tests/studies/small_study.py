"""How a test calls a study, with fits that take a moment."""

from collections.abc import Callable

import pytest

from benchmarks.tests.small_market import LENGTH

SIZES = ["model.width=8", "model.blocks=1", "model.heads=2", "model.feed_forward=8", f"data.max_length={LENGTH}"]
SMALL = [
    *SIZES,
    *("training.batch_size=64", "training.max_epochs=2", "training.negatives=16", "training.learning_rate=0.01"),
    *("generation.trials_per_sequence=1", "generation.min_length=2", "loop.variant=finetune"),
]


def call(monkeypatch: pytest.MonkeyPatch, main: Callable[[], None], *arguments: object) -> None:
    """Call a script as its command line does."""
    monkeypatch.setattr("sys.argv", ["script", *map(str, arguments)])
    main()


def small(settings: list[str] = SMALL) -> list[str]:
    """The small settings as options of a study."""
    return [argument for setting in settings for argument in ("--set", setting)]
