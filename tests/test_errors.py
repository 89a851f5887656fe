"""The error family: exit codes, and survival of the trip between processes."""

import pickle  # noqa: TID251 -- Ray carries errors between processes this way; nothing is stored

import pytest

from rsir_scale import errors
from rsir_scale.errors import RsirError

FAMILY = [found for found in vars(errors).values() if isinstance(found, type) and issubclass(found, RsirError)]
EXIT_CODES = {"ConfigError": 2, "InputError": 2, "ResumableError": 3, "IntegrityError": 4}


@pytest.mark.parametrize("kind", FAMILY, ids=lambda kind: kind.__name__)
def test_an_error_survives_a_pickle_round_trip(kind: type[RsirError]) -> None:
    error = kind("value, rule, way out")
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301
    assert type(copy) is kind
    assert copy.args == error.args
    assert str(copy) == str(error)


@pytest.mark.parametrize("kind", FAMILY, ids=lambda kind: kind.__name__)
def test_an_error_has_the_exit_code_of_its_branch_of_the_family(kind: type[RsirError]) -> None:
    branch = next((ancestor.__name__ for ancestor in kind.__mro__ if ancestor.__name__ in EXIT_CODES), None)
    assert kind.exit_code == EXIT_CODES.get(branch or "", 1)


def test_the_family_is_complete() -> None:
    assert EXIT_CODES.keys() <= {kind.__name__ for kind in FAMILY}
