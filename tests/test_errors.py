"""The exception tree: what each front answers for an error, and what is never in one."""

import inspect
import re
from collections.abc import Iterator

import pytest

from gateway import errors
from gateway.errors import GatewayError


def tree(root: type[GatewayError] = GatewayError) -> Iterator[type[GatewayError]]:
    """Walk the errors of `gateway.errors`; a command may have one of its own beside them."""
    if root.__module__ == errors.__name__:
        yield root
    for child in root.__subclasses__():
        yield from tree(child)


TREE = list(tree())
each_error = pytest.mark.parametrize("error", TREE, ids=lambda error: error.__name__)


def test_every_exception_of_the_module_is_in_the_one_tree() -> None:
    defined = {x for _, x in inspect.getmembers(errors, inspect.isclass) if issubclass(x, BaseException)}
    assert defined == set(TREE)


def test_no_two_errors_share_a_slug() -> None:
    assert len({error.slug for error in TREE}) == len(TREE)


@each_error
def test_an_error_has_a_slug_of_its_own_that_fits_a_header_and_a_url(error: type[GatewayError]) -> None:
    assert "slug" in vars(error)
    assert re.fullmatch(r"[a-z]+(-[a-z]+)*", error.slug)


@each_error
def test_no_slug_is_a_word_of_completeness(error: type[GatewayError]) -> None:
    assert error.slug not in {"complete", "limited"}


@each_error
def test_an_error_has_the_http_status_of_an_error(error: type[GatewayError]) -> None:
    assert 400 <= error.http_status < 600


@each_error
def test_an_error_has_a_dimse_status(error: type[GatewayError]) -> None:
    assert 0 <= error.dimse_status <= 0xFFFF


@each_error
def test_an_error_is_no_success_on_dimse_unless_it_says_that_nothing_matches(error: type[GatewayError]) -> None:
    assert error.dimse_status != 0 or issubclass(error, errors.NotFound)


@each_error
def test_what_is_retryable_is_no_fault_of_the_request(error: type[GatewayError]) -> None:
    assert isinstance(error.retryable, bool)
    assert not (error.retryable and issubclass(error, errors.RequestError))


@each_error
def test_an_error_is_documented(error: type[GatewayError]) -> None:
    assert (error.__doc__ or "").splitlines()[0].rstrip().endswith(".")


@each_error
def test_an_error_carries_its_message_and_its_own_attributes(error: type[GatewayError]) -> None:
    parameters = inspect.signature(error.__init__).parameters.values()
    required = [x.name for x in parameters if x.kind is x.KEYWORD_ONLY and x.default is x.empty]
    raised = error("what was wrong", **dict.fromkeys(required, 1))
    assert str(raised) == "what was wrong"
    assert all(getattr(raised, name) == 1 for name in required)


def test_a_region_that_is_down_is_never_the_callers_fault() -> None:
    assert all(error.http_status >= 500 for error in TREE if issubclass(error, errors.RegionError))


def test_a_caller_may_ask_again_where_a_region_is_only_busy() -> None:
    assert errors.Busy.retryable
    assert not errors.Rejected.retryable
