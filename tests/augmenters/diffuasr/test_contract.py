"""DiffuASR keeps the contract of an augmenter."""

from tests.augmenters.contract import AugmenterContract


class TestDiffuASR(AugmenterContract):
    name = "diffuasr"
    options = {  # noqa: RUF012
        "items": 1,
        "least_context": 1,
        "shorter_than": 12,
        "steps": 50,
        "sampling_steps": 1,
        "epochs": 1,
    }
    refused = ({"items": 0}, {"sampling_steps": 1001}, {"guidance": "none"}, {"channels": 12})
    seeds = (0, 1)
