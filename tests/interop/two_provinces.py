"""The small province twice: in four Orthancs and in four embedded archives, a gateway in front of each."""

import contextlib
import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from regions.archive import Archive
from regions.people import HEALTH_CARD_ISSUER, HEALTH_CARD_OID, REGIONS
from regions.profiles import profiles
from regions.truth import CROSSWALK, Truth, truth
from tests.interop.serving import Gateway, gateway
from tests.kit.peers import Orthanc, orthanc
from tests.kit.small_province import small_province

OPTIONS = {"DefaultEncoding": "Utf8"}
"""Orthanc answers every C-FIND in one set of its own: Latin-1 has no room for the province's names."""


@dataclass(frozen=True)
class Provinces:
    """Both, and what they hold."""

    orthancs: Gateway
    embedded: Gateway
    truth: Truth


@contextlib.contextmanager
def two_provinces(home: Path) -> Iterator[Provinces]:
    """Load both from the cache, which is made where it is not there, and run their gateways."""
    cache = small_province(home)
    held = truth(cache)
    settings = (
        f'[identity]\nsource = "csv"\ncrosswalk = "{cache / CROSSWALK}"\nprovincial_issuer = "{HEALTH_CARD_ISSUER}"\n'
        f'issuers = [{{ issuer = "{HEALTH_CARD_ISSUER}", oid = "{HEALTH_CARD_OID}" }}]\n'
    )
    with ExitStack() as stack:
        archives = [stack.enter_context(orthanc(home, name, dicomweb=False, options=OPTIONS)) for name in REGIONS]
        stack.callback(_end, archives)
        with ThreadPoolExecutor(len(REGIONS)) as threads:
            list(threads.map(_load, archives, [cache] * len(REGIONS), [held] * len(REGIONS)))
        embedded = [stack.enter_context(Archive(name, cache / name)) for name in REGIONS]
        yield Provinces(
            _gateway(stack, home, [x.port for x in archives], settings),
            _gateway(stack, home, [x.port for x in embedded], settings),
            held,
        )


def _end(archives: list[Orthanc]) -> None:
    """Tell all of them at once: each takes two seconds to end."""
    for archive in archives:
        os.kill(archive.pid, signal.SIGTERM)


def _load(archive: Orthanc, cache: Path, held: Truth) -> None:
    files = (x.files.get(archive.ae_title) for study in held.studies for x in study.instances)
    archive.upload(cache / file for file in files if file)


def _gateway(stack: ExitStack, home: Path, ports: list[int], settings: str) -> Gateway:
    made = [profile.at("127.0.0.1", port) for profile, port in zip(profiles(), ports, strict=True)]
    return stack.enter_context(gateway(home, made, settings=settings))
