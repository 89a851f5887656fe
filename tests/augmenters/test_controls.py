"""The controls keep the contract of an augmenter."""

from typing import ClassVar

from tests.augmenters.contract import AugmenterContract


class TestCopies(AugmenterContract):
    name = "copies"
    refused: ClassVar = [{"rate": 0.5}]
    draws = False


class TestThinned(AugmenterContract):
    name = "thinned"


class TestSlideWindow(AugmenterContract):
    name = "slide_window"
    options: ClassVar = {"window": 4, "stride": 2}
    refused: ClassVar = [
        *({"window": value} for value in (0, 1, -3, 2.5, True, 2**17)),
        *({"stride": value} for value in (0, -1, 0.5, True, None)),
    ]
    draws = False


class TestSlideWindowOfWhatAnUpdateReads(AugmenterContract):
    name = "slide_window"
    draws = False
    seeds: ClassVar = range(1)
