"""The paper's augmenter keeps the contract of any augmenter."""

from typing import ClassVar

from tests.augmenters.contract import ContractOfRows


class TestRsir(ContractOfRows):
    name = "rsir"
    refused: ClassVar = [{"rate": 0.5}]
