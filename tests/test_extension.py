"""Compiled parts are found where they were built, and are missed without an error where they were not."""

from rsir_scale.extension import load_extension, names_of


def test_an_extension_that_was_not_built_is_none() -> None:
    assert load_extension("rsir_scale._never_built") is None


def test_names_are_asked_for_until_there_is_none() -> None:
    known = [b"best", b"good", None, b"never asked for"]
    assert names_of(known.__getitem__) == ("best", "good")
    assert names_of(lambda _: None) == ()
