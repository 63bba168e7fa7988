"""``gateway queue``: what waits is seen, tried again and given up, beside the gateway that delivers it."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from gateway.cli.app import app
from gateway.errors import ConfigError, DimseFailure, Refused
from gateway.region.storing import Outgoing
from tests.kit.dicom import instance, part10, uid
from tests.web.storing import FakeRegion, Origin, origin


def gateway_queue(*arguments: str | Path) -> str:
    result = CliRunner().invoke(app, ["queue", *map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def listed(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in gateway_queue("list", "--folder", folder, "--json").splitlines()]


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110  (another process's file tells nobody)
            await asyncio.sleep(0.02)


class Archive(FakeRegion):
    """Fails as it is told to."""

    def __init__(self) -> None:
        super().__init__(answer=self._answer)
        self.error: Exception | None = Refused("nothing listens at NEODIN")

    def _answer(self, _: Outgoing) -> int:
        if self.error is not None:
            raise self.error
        return 0


@pytest.fixture
def region() -> Archive:
    return Archive()


@pytest.fixture
async def served(region: Archive, tmp_path: Path) -> AsyncIterator[Origin]:
    async with origin(region, folder=tmp_path, retry_seconds=60.0) as one:
        assert (await one.post([part10(instance())])).status_code == 202
        yield one


async def test_list_shows_what_waits_and_why(served: Origin, tmp_path: Path) -> None:
    [delivery] = listed(tmp_path)
    assert delivery["region"] == "neodin"
    assert delivery["state"] == "waiting"
    assert delivery["sop_instance_uid"] == uid(1, 1, 1)
    assert uid(1) in delivery["study_instance_uid"]
    assert "waiting" in gateway_queue("list", "--folder", tmp_path)


async def test_retry_delivers_at_once_what_would_have_waited(served: Origin, region: Archive, tmp_path: Path) -> None:
    region.error = None
    gateway_queue("retry", listed(tmp_path)[0]["number"], "--folder", tmp_path)
    await until(lambda: not listed(tmp_path))
    await until(lambda: not list((tmp_path / "instances").iterdir()))
    assert region.uids == [uid(1, 1, 1)]


async def test_refusal_is_quarantined_with_its_reason_until_it_is_retried(
    served: Origin, region: Archive, tmp_path: Path
) -> None:
    region.error = DimseFailure(
        "NEODIN answered C-STORE with A900H", status=0xA900, comment="[/class] wrong class\x1b[2J"
    )
    gateway_queue("retry", listed(tmp_path)[0]["number"], "--folder", tmp_path)
    await until(lambda: listed(tmp_path)[0]["state"] == "quarantined")
    [delivery] = listed(tmp_path)
    assert "wrong class" in delivery["reason"]
    assert "[/class] wrong class [2J" in gateway_queue("list", "--folder", tmp_path)
    assert "DeliveryQuarantined" in {type(event).__name__ for event in served.events}
    region.error = None
    gateway_queue("retry", "--all", "--folder", tmp_path)
    await until(lambda: not listed(tmp_path))


async def test_drop_gives_an_instance_up_and_deletes_it(served: Origin, region: Archive, tmp_path: Path) -> None:
    region.error = None
    gateway_queue("drop", listed(tmp_path)[0]["number"], "--folder", tmp_path)
    assert listed(tmp_path) == []
    assert not list((tmp_path / "instances").iterdir())
    assert region.uids == []


def test_queue_that_is_not_there_or_numbers_it_has_not_are_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no queue: name its folder"):
        gateway_queue("list")
    with pytest.raises(ConfigError, match=f"{tmp_path}: there is no queue there"):
        gateway_queue("list", "--folder", tmp_path)


async def test_numbers_that_the_queue_has_not_are_told(served: Origin, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="has no 99"):
        gateway_queue("drop", "99", "--folder", tmp_path)
    with pytest.raises(ConfigError, match="say which"):
        gateway_queue("drop", "--folder", tmp_path)


async def test_two_gateways_do_not_share_a_queue(served: Origin, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="another gateway"):
        async with origin(FakeRegion(), folder=tmp_path):
            pass
