"""Which of several directives counts: the most specific one, and of those that cannot be compared one that denies."""

from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.access.directive import FOREVER, Directive, Level, Rule, decisive
from gateway.access.permit import StudyKey
from gateway.access.principal import Principal

ME = Principal("me", organisation="org", person="cpso:1")
STUDY = StudyKey("1.2.3", "ACC")
D, P = "deny", "permit"


def rule(effect: Any, text: str = "", **more: Any) -> Rule:
    """Make a rule of words: study, accession, org, person, and those of somebody else with "other"."""
    words: dict[str, dict[str, Any]] = {
        "study": {"study": "1.2.3"},
        "accession": {"accession": "ACC"},
        "org": {"organisation": "org"},
        "person": {"person": "cpso:1"},
        "other-study": {"study": "1.2.4"},
        "other-org": {"organisation": "elsewhere"},
        "other-person": {"person": "cpso:2"},
    }
    chosen: dict[str, Any] = {}
    for word in text.split():
        chosen |= words[word]
    return Rule(effect, **chosen, **more)


TABLE: list[tuple[str, list[Rule], str | None]] = [
    ("nothing is directed", [], None),
    ("the domain is denied", [rule(D)], D),
    ("a record is denied", [rule(D, "study")], D),
    ("a report is denied", [rule(D, "accession")], D),
    ("another record is denied", [rule(D, "other-study")], None),
    ("my organisation is denied", [rule(D, "org")], D),
    ("another organisation is denied", [rule(D, "other-org")], None),
    ("I am denied", [rule(D, "person")], D),
    ("somebody else is denied", [rule(D, "other-person")], None),
    ("all but my organisation are denied", [rule(D), rule(P, "org")], P),
    ("all but somebody else are denied", [rule(D), rule(P, "other-person")], D),
    ("all but one record is denied", [rule(D), rule(P, "study")], P),
    ("my organisation is denied, I am not", [rule(D, "org"), rule(P, "person")], P),
    ("my organisation is not denied, I am", [rule(P, "org"), rule(D, "person")], D),
    ("all is permitted but one record", [rule(P), rule(D, "study")], D),
    ("a record is denied to all but me", [rule(D, "study"), rule(P, "study person")], P),
    ("a record is denied to my organisation, not to me", [rule(D, "study org"), rule(P, "study person")], P),
    ("a record is denied, and I may see all", [rule(D, "study"), rule(P, "person")], D),
    ("a record is permitted, and I may see nothing", [rule(P, "study"), rule(D, "person")], D),
    ("both are said", [rule(P), rule(D)], D),
    ("me in my organisation beats me", [rule(D, "person"), rule(P, "person org")], P),
]


@pytest.mark.parametrize(("rules", "expected"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE])
def test_table_of_precedence(rules: list[Rule], expected: str | None) -> None:
    for order in (rules, rules[::-1]):
        chosen = decisive(Directive("c", x) for x in order if x.applies(ME, STUDY, 0.0))
        assert (chosen.rule.effect if chosen else None) == expected


def test_a_rule_is_of_the_level_of_whom_it_is_about_else_of_what() -> None:
    levels = {"": Level.DOMAIN, "study": Level.RECORD, "accession": Level.RECORD, "org": Level.ORGANISATION}
    levels |= {"person": Level.PERSON, "study org": Level.ORGANISATION, "org person study": Level.PERSON}
    assert {text: rule(D, text).level for text in levels} == levels


def test_a_period_begins_with_its_first_moment_and_ends_before_its_last() -> None:
    lasting = rule(D, begins=10.0, ends=20.0)
    assert [lasting.applies(ME, STUDY, at) for at in (9.9, 10.0, 19.9, 20.0)] == [False, True, True, False]


rules_of_mine = st.lists(
    st.builds(
        lambda effect, study, organisation, person: Rule(effect, study, "", organisation, person),
        st.sampled_from([D, P]),
        st.sampled_from(["", "1.2.3", "1.2.4"]),
        st.sampled_from(["", "org", "elsewhere"]),
        st.sampled_from(["", "cpso:1", "cpso:2"]),
    ),
    max_size=8,
)


@given(rules_of_mine, st.randoms(use_true_random=False))
def test_what_counts_is_never_less_specific_than_another_and_does_not_depend_on_order(
    rules: list[Rule], random: Any
) -> None:
    applying = [Directive(str(at), x) for at, x in enumerate(rules) if x.applies(ME, STUDY, 0.0)]
    chosen = decisive(applying)
    assert (chosen is None) == (not applying)
    if chosen is None:
        return
    assert not any(other.rule.narrower_than(chosen.rule) for other in applying)
    if chosen.rule.effect == P:
        denying = [x.rule for x in applying if x.rule.effect == D]
        # Each that denies is beaten by one that is more specific than it.
        assert all(any(other.rule.narrower_than(x) for other in applying) for x in denying)
    shuffled = list(applying)
    random.shuffle(shuffled)
    again = decisive(shuffled)
    assert again is not None
    assert again.rule.effect == chosen.rule.effect


@given(rules_of_mine)
def test_what_is_directed_for_others_changes_nothing(rules: list[Rule]) -> None:
    mine = [x for x in rules if x.applies(ME, STUDY, 0.0)]
    stranger = Principal("x", organisation="nowhere", person="cpso:9")
    for_all = [x for x in rules if not x.organisation and not x.person]
    assert [x for x in rules if x.applies(stranger, STUDY, 0.0)] == [x for x in for_all if x in mine]


def test_narrower_is_a_strict_order() -> None:
    every = [rule(D, text) for text in ("", "study", "org", "person", "study org", "study person", "org person")]
    for one, two, three in product(every, repeat=3):
        assert not one.narrower_than(one)
        assert not (one.narrower_than(two) and two.narrower_than(one))
        if one.narrower_than(two) and two.narrower_than(three):
            assert one.narrower_than(three)
    assert rule(D, ends=FOREVER) == rule(D)
