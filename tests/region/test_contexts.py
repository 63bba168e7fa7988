"""What is proposed to a region fits one association and leaves an instance as it is stored (PS3.8 7.1.1.13)."""

import pytest

from gateway.dataset.transfer_syntax import EXPLICIT_VR_LE
from gateway.dimse.sop_classes import COMMON_STORAGE, PATIENT_ROOT_FIND, STORAGE, VERIFICATION
from gateway.errors import LimitExceeded
from gateway.region.contexts import FIND, GET, MOVE, QUERY_CONTEXTS, get_contexts

CT, US = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.3.1"
LIMIT = 128


def test_one_idle_association_serves_echo_find_and_move() -> None:
    assert [context.abstract_syntax for context in QUERY_CONTEXTS] == [
        VERIFICATION,
        FIND,
        MOVE,
        PATIENT_ROOT_FIND,
    ]
    assert all(context.transfer_syntaxes[0] == EXPLICIT_VR_LE for context in QUERY_CONTEXTS)


def test_each_sop_class_of_a_c_get_has_us_as_its_scp() -> None:
    [get, *storage] = get_contexts({CT, US})
    assert (get.abstract_syntax, get.scp_role) == (GET, False)
    assert {context.abstract_syntax for context in storage} == {CT, US}
    assert all(context.scp_role for context in storage)


def test_an_uncompressed_instance_may_come_in_explicit_vr_first() -> None:
    assert get_contexts({CT})[1].transfer_syntaxes[0] == EXPLICIT_VR_LE


def test_each_compressed_transfer_syntax_has_a_context_of_its_own() -> None:
    compressed = [context.transfer_syntaxes for context in get_contexts({CT})[2:]]
    assert len(compressed) > 5
    assert all(len(syntaxes) == 1 for syntaxes in compressed)


@pytest.mark.parametrize("count", [1, 2, 5, 6, 7, 8, 9, 10, 11, 12, 40, 120, 127])
def test_they_always_fit_one_association_and_bring_every_class(count: int) -> None:
    classes = sorted(STORAGE)[:count]
    contexts = get_contexts(classes)
    assert len(contexts) <= LIMIT
    assert {context.abstract_syntax for context in contexts} == {GET, *classes}


def test_the_common_classes_fit_one_association() -> None:
    assert len(get_contexts(COMMON_STORAGE)) <= LIMIT


def test_many_classes_may_still_be_sent_in_every_transfer_syntax() -> None:
    few, many = (get_contexts(sorted(STORAGE)[:count]) for count in (1, 60))
    offered = {syntax for context in few[1:] for syntax in context.transfer_syntaxes}
    assert all(set(context.transfer_syntaxes) == offered for context in many[1:])


def test_more_classes_than_contexts_are_refused_with_a_remedy() -> None:
    with pytest.raises(LimitExceeded, match="ask for single series"):
        get_contexts([f"1.2.3.{number}" for number in range(LIMIT)])
