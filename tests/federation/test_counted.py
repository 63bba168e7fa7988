"""What was counted once of a study is not counted again while its holders tell the same of it."""

from gateway.dataset.attributes import first
from gateway.dataset.query import Level, Query, Row
from gateway.federation.counted import Counted, key
from tests.federation.scripted_province import Province
from tests.federation.scripted_region import ScriptedRegion, study_row

SERIES_COUNT, INSTANCE_COUNT = "00201206", "00201208"


def two_holders(instances: int | None = 2) -> Province:
    return Province(
        ScriptedRegion("A", {"1.1": {"1.1.1": ["a", "b"]}}, rows=[study_row("1.1", _00201208=instances)]),
        ScriptedRegion("B", {"1.1": {"1.1.1": ["b"], "1.1.2": ["c"]}}, rows=[study_row("1.1", _00201208=2)]),
    )


async def shown(province: Province) -> list[int]:
    """List the studies; return the counts of the one that there is."""
    [row] = (await province.search(Query(Level.STUDY))).rows
    return [first(row[SERIES_COUNT]), first(row[INSTANCE_COUNT])]


async def test_repeated_list_asks_nothing_below_its_studies() -> None:
    async with two_holders() as province:
        counts = [await shown(province) for _ in range(3)]
        assert counts == [[2, 3]] * 3
        assert province.asked(Level.SERIES) == [1, 1]
        assert sum(province.asked(Level.IMAGE)) == 2


async def test_study_is_counted_anew_when_a_holder_tells_something_else() -> None:
    async with two_holders() as province:
        await shown(province)
        grown = province.regions[0]
        grown.holdings = {"1.1": {"1.1.1": ["a", "b", "d"]}}
        grown.rows = [study_row("1.1", _00201208=3)]
        assert await shown(province) == [2, 4]


async def test_study_is_counted_anew_when_it_has_another_holder() -> None:
    async with two_holders() as province:
        gone = province.regions[1].rows
        province.regions[1].rows = []
        assert await shown(province) == [1, 2]
        province.regions[1].rows = gone
        assert await shown(province) == [2, 3]


async def test_study_whose_holder_does_not_count_its_instances_is_not_remembered() -> None:
    async with two_holders(instances=None) as province:
        for _ in range(2):
            assert await shown(province) == [2, 3]
        assert province.asked(Level.SERIES) == [2, 2]


def test_nothing_is_remembered_longer_than_it_should() -> None:
    row: Row = study_row("1.1")
    counted, known_by = Counted(seconds=0.0), key(row, ("A",), None)
    counted.keep(row, known_by)
    assert known_by is not None
    assert not counted.recall(row, known_by)
