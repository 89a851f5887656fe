"""Reordering keeps the contract of an augmenter."""

from typing import ClassVar

from tests.augmenters.contract import AugmenterContract


class TestReordering(AugmenterContract):
    name = "reordering"
    options: ClassVar = {"rate": 0.5}
    refused: ClassVar = [{"rate": value} for value in (0, -0.1, 1.1, True, None, "nan")]
