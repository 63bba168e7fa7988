"""What an identity source said is used again for five minutes at the most (trap 27)."""

import asyncio
from dataclasses import dataclass, field

import pytest

from gateway.config.settings import load
from gateway.dataset.patient import PatientIdentifier
from gateway.deadline import Deadline
from gateway.errors import ConfigError, IdentityUnavailable
from gateway.federation.remembered import PAUSE_SECONDS, Remembered
from tests.federation.test_identity import ids

MARIE = ids("HCN 100", "NEODIN 7")
KNOWN, UNKNOWN = PatientIdentifier("NEODIN", "7"), PatientIdentifier("NEODIN", "8")


@dataclass
class Registry:
    """An identity source that counts its questions, and can be changed or down."""

    patients: list[frozenset[PatientIdentifier]]
    down: bool = False
    asked: list[object] = field(default_factory=list)

    async def identifiers(self, known: PatientIdentifier, deadline: Deadline) -> frozenset[PatientIdentifier]:
        self.asked.append(known)
        self._answer()
        return next((patient for patient in self.patients if known in patient), frozenset())

    async def issuers_of(self, value: str, deadline: Deadline) -> frozenset[str]:
        self.asked.append(value)
        self._answer()
        return frozenset(x.issuer for patient in self.patients for x in patient if x.value == value)

    def _answer(self) -> None:
        if self.down:
            raise IdentityUnavailable("down")


def soon() -> Deadline:
    return Deadline.after(10.0)


async def test_a_patient_is_asked_for_once_by_whichever_number() -> None:
    registry = Registry([MARIE])
    remembered = Remembered(registry, 300.0)
    for known in (KNOWN, *MARIE):
        assert await remembered.identifiers(known, soon()) == MARIE
    assert registry.asked == [KNOWN]


async def test_what_is_unknown_is_remembered_too() -> None:
    registry = Registry([MARIE])
    remembered = Remembered(registry, 300.0)
    for _ in range(3):
        assert await remembered.identifiers(UNKNOWN, soon()) == frozenset()
        assert await remembered.issuers_of("9", soon()) == frozenset()
    assert registry.asked == [UNKNOWN, "9"]


async def test_trap_27_a_merge_is_seen_once_what_was_remembered_is_old() -> None:
    registry = Registry([MARIE])
    remembered = Remembered(registry, 300.0)
    assert await remembered.identifiers(KNOWN, soon()) == MARIE
    merged = MARIE | {PatientIdentifier("HDIRS", "9")}
    registry.patients = [merged]
    await asyncio.sleep(299.0)
    assert await remembered.identifiers(KNOWN, soon()) == MARIE
    await asyncio.sleep(2.0)
    assert await remembered.identifiers(KNOWN, soon()) == merged


def test_trap_27_nothing_can_be_remembered_for_more_than_five_minutes() -> None:
    assert load().identity.cache_seconds <= 300.0
    with pytest.raises(ConfigError, match=r"identity\.cache_seconds"):
        load(overrides={"identity": {"cache_seconds": 301.0}})


async def test_what_is_remembered_is_bounded() -> None:
    registry = Registry([])
    remembered = Remembered(registry, 300.0, most_entries=10)
    for number in range(1000):
        await remembered.identifiers(PatientIdentifier("NEODIN", str(number)), soon())
    assert len(remembered._patients._entries) == 10
    await remembered.identifiers(PatientIdentifier("NEODIN", "999"), soon())
    assert len(registry.asked) == 1000


async def test_a_failure_is_not_remembered_as_unknown_but_the_source_is_left_alone_for_a_while() -> None:
    registry = Registry([MARIE], down=True)
    remembered = Remembered(registry, 300.0)
    for _ in range(5):
        with pytest.raises(IdentityUnavailable):
            await remembered.identifiers(KNOWN, soon())
        with pytest.raises(IdentityUnavailable):
            await remembered.issuers_of("7", soon())
    assert len(registry.asked) == 1
    registry.down = False
    await asyncio.sleep(PAUSE_SECONDS)
    assert await remembered.identifiers(KNOWN, soon()) == MARIE


async def test_what_is_remembered_is_told_while_the_source_is_down() -> None:
    registry = Registry([MARIE])
    remembered = Remembered(registry, 300.0)
    await remembered.identifiers(KNOWN, soon())
    registry.down = True
    with pytest.raises(IdentityUnavailable):
        await remembered.identifiers(UNKNOWN, soon())
    assert await remembered.identifiers(KNOWN, soon()) == MARIE


async def test_a_caller_in_a_hurry_does_not_make_the_source_rest() -> None:
    registry = Registry([MARIE], down=True)
    remembered = Remembered(registry, 300.0)
    with pytest.raises(IdentityUnavailable):
        await remembered.identifiers(KNOWN, Deadline.after(0.0))
    registry.down = False
    assert await remembered.identifiers(KNOWN, soon()) == MARIE
