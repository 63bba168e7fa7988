"""``gateway queue``: what was taken in and its region does not have yet, beside a running gateway or without one."""

import time
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer

from gateway.cli.output import print_table
from gateway.config import settings
from gateway.errors import ConfigError
from gateway.spool.key import key_of
from gateway.spool.ledger import NAME, QUARANTINED, WAITING, Delivery, Ledger
from gateway.spool.queue import INSTANCES

app = typer.Typer(
    name="queue",
    help="Instances that were stored and that their region does not have yet.",
    no_args_is_help=True,
    add_completion=False,
)

Config = Annotated[Path | None, typer.Option(help="Settings of the gateway; its store.folder is the queue.")]
Folder = Annotated[Path | None, typer.Option(help="The queue's folder, instead.")]
Numbers = Annotated[list[int] | None, typer.Argument(help="Numbers, as `gateway queue list` tells them.")]
Region = Annotated[str, typer.Option(help="Only what goes to this region.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object a line.")]
Every = Annotated[bool, typer.Option("--all", help="All that are in quarantine, instead of numbers.")]


@app.command("list")
def list_(config: Config = None, folder: Folder = None, region: Region = "", as_json: Json = False) -> None:
    """Show what waits and what is in quarantine, the oldest first."""
    with _ledger(config, folder) as ledger:
        deliveries = ledger.deliveries(region=region.lower())
    if as_json:
        for delivery in deliveries:
            print(orjson.dumps(_described(delivery)).decode())
        return
    if not deliveries:
        print("nothing waits")
        return
    columns = "number", "state", "region", "SOP Instance UID", "bytes", "tries", "since", "next", "reason"
    print_table(columns, [list(map(str, _row(delivery))) for delivery in deliveries])


@app.command()
def retry(
    numbers: Numbers = None, every: Every = False, config: Config = None, folder: Folder = None, region: Region = ""
) -> None:
    """Try deliveries again at once, those in quarantine too."""
    with _ledger(config, folder) as ledger:
        chosen = _chosen(ledger, numbers, every, region)
        print(f"{ledger.retry(chosen)} to be tried again")


@app.command()
def drop(
    numbers: Numbers = None, every: Every = False, config: Config = None, folder: Folder = None, region: Region = ""
) -> None:
    """Give deliveries up, for good: the instances are deleted unless another region waits for them."""
    at = _folder(config, folder)
    with _ledger(config, folder) as ledger:
        chosen = _chosen(ledger, numbers, every, region)
        for file in ledger.remove(chosen):
            (at / INSTANCES / file).unlink(missing_ok=True)
        print(f"{len(chosen)} dropped")


def _chosen(ledger: Ledger, numbers: list[int] | None, every: bool, region: str) -> list[int]:
    if bool(numbers) == every:
        raise ConfigError("say which: numbers as `gateway queue list` tells them, or --all for what is in quarantine")
    there = ledger.deliveries(region=region.lower(), state=QUARANTINED if every else "", numbers=numbers or ())
    known = [delivery.number for delivery in there]
    if unknown := set(numbers or ()).difference(known):
        raise ConfigError(f"the queue has no {', '.join(map(str, sorted(unknown)))}: see `gateway queue list`")
    return known


def _folder(config: Path | None, folder: Path | None) -> Path:
    chosen = folder or Path(settings.load(config).store.folder)
    if chosen == Path():
        raise ConfigError("there is no queue: name its folder with --folder, or the settings with --config")
    if not (chosen / NAME).is_file():
        raise ConfigError(f"{chosen}: there is no queue there: a gateway makes it when it starts")
    return chosen


def _ledger(config: Path | None, folder: Path | None) -> Ledger:
    at = _folder(config, folder)
    return Ledger(at, None if folder else key_of(settings.load(config).store.key_file, "store.key_file"))


def _described(delivery: Delivery) -> dict[str, Any]:
    kept = delivery.kept
    return {
        "number": delivery.number,
        "state": delivery.state,
        "region": delivery.region,
        "sop_instance_uid": kept.sop_instance_uid,
        "series_instance_uid": kept.series_instance_uid,
        "study_instance_uid": kept.study_instance_uid,
        "sop_class_uid": kept.sop_class_uid,
        "transfer_syntax_uid": kept.transfer_syntax_uid,
        "bytes": kept.size,
        "origin": kept.origin,
        "attempts": delivery.attempts,
        "kept_at": round(delivery.kept_at, 3),
        "next_at": round(delivery.next_at, 3) if delivery.state == WAITING else None,
        "reason": delivery.reason,
    }


def _row(delivery: Delivery) -> tuple[object, ...]:
    now = time.time()
    wait = f"in {max(0, delivery.next_at - now):.0f} s" if delivery.state == WAITING else ""
    since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(delivery.kept_at))
    kept = delivery.kept
    facts = (delivery.number, delivery.state, delivery.region, kept.sop_instance_uid, kept.size, delivery.attempts)
    return (*facts, since, wait, delivery.reason)
