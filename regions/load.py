"""`python -m regions.load`: store the synthetic province in archives that are not ours, each its own part.

It is what fills the Orthancs of docker/compose.yaml.
"""

import argparse
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pynetdicom import AE, _config
from pynetdicom.presentation import PresentationContext, build_context

from regions.archive import destination
from regions.plan import FULL, SCALES
from regions.profiles import profiles
from regions.province import generate
from regions.truth import TrueInstance, Truth, default_cache, truth

_MOST_CONTEXTS: Final = 126
_WAIT_SECONDS: Final = 120.0


class LoadError(Exception):
    """An archive cannot be reached, or refuses an instance."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """What became of a region's instances.

    Attributes:
        stored: in the archive.
        left_out: of a Transfer Syntax or SOP Class that the archive does not accept.
    """

    stored: int
    left_out: int


def load(cache: Path, held: Truth, region: str, address: tuple[str, int], *, seconds: float = _WAIT_SECONDS) -> Loaded:
    """Store what a region holds in the archive at an address.

    Args:
        cache: folder of the province.
        held: what it holds.
        region: whose part; also the AE title that the archive is called by.
        address: its host and port.
        seconds: to wait until it listens.

    Raises:
        LoadError: it cannot be reached in that time, or refuses an instance.
    """
    # pynetdicom's switch for the whole process: files go out as they are, byte by byte.
    _config.STORE_SEND_CHUNKED_DATASET = True
    instances = [x for study in held.studies for x in study.held_by(region)]
    stored = 0
    for batch, contexts in _batches(instances):
        association = _associated(region, address, contexts, seconds)
        try:
            taken = {(str(x.abstract_syntax), str(x.transfer_syntax[0])) for x in association.accepted_contexts}
            for instance in batch:
                if (instance.sop_class_uid, instance.transfer_syntax_uid) not in taken:
                    continue
                status = association.send_c_store(cache / instance.files[region])
                if status.get("Status") != 0x0000:
                    raise LoadError(f"{region} refuses {instance.sop_instance_uid}: {status.get('Status')}")
                stored += 1
        finally:
            association.release()
    return Loaded(stored, len(instances) - stored)


def _batches(instances: Sequence[TrueInstance]) -> Iterator[tuple[list[TrueInstance], list[PresentationContext]]]:
    """Divide instances so that the Presentation Contexts of each batch fit into one association (PS3.8 7.1.1.13)."""
    kinds = sorted({(x.sop_class_uid, x.transfer_syntax_uid) for x in instances})
    for first in range(0, len(kinds), _MOST_CONTEXTS):
        some = set(kinds[first : first + _MOST_CONTEXTS])
        batch = [x for x in instances if (x.sop_class_uid, x.transfer_syntax_uid) in some]
        yield batch, [build_context(sop_class, syntax) for sop_class, syntax in sorted(some)]


def _associated(region: str, address: tuple[str, int], contexts: list[PresentationContext], seconds: float) -> Any:
    """Associate with an archive that may still be starting."""
    host, port = address
    end = time.monotonic() + seconds
    while not _listens(host, port):
        if time.monotonic() > end:
            raise LoadError(f"nothing listens for {region} at {host}:{port}")
        time.sleep(0.5)
    association = AE("LOADER").associate(host, port, contexts=contexts, ae_title=region)
    if not association.is_established:
        raise LoadError(f"{region} at {host}:{port} does not let us in")
    return association


def _listens(host: str, port: int) -> bool:
    # pynetdicom leaves a socket open for each connection that is refused.
    try:
        socket.create_connection((host, port), timeout=5).close()
    except OSError:
        return False
    return True


def main(arguments: Sequence[str] | None = None) -> None:
    """Make the province unless it is there, and load it into every archive named."""
    parser = argparse.ArgumentParser(prog="python -m regions.load", description="store the province in archives")
    parser.add_argument("archives", nargs="+", type=destination, metavar="REGION=host:port")
    parser.add_argument("--cache", type=Path, help="where the province is kept")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--scale", choices=SCALES, default=FULL.name)
    options = parser.parse_args(arguments)
    known = {profile.ae_title for profile in profiles()}
    if unknown := [region for region, _ in options.archives if region not in known]:
        parser.error(f"no such region: {', '.join(unknown)}; there are {', '.join(sorted(known))}")
    cache = options.cache or default_cache(options.seed, options.scale)
    generate(cache, seed=options.seed, scale=SCALES[options.scale])
    held = truth(cache)
    try:
        for region, address in options.archives:
            loaded = load(cache, held, region, address)
            left_out = f", {loaded.left_out} left out: it does not take their form" if loaded.left_out else ""
            sys.stdout.write(f"{region} {loaded.stored} instances{left_out}\n")
            sys.stdout.flush()
    except LoadError as error:
        sys.exit(f"regions: {error}")


if __name__ == "__main__":
    main()
