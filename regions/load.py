"""`python -m regions.load`: store the synthetic province in archives that are not ours, each its own part.

It is what fills the Orthancs of docker/compose.yaml.
"""

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
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


def load(cache: Path, held: Truth, region: str, address: tuple[str, int], *, seconds: float = _WAIT_SECONDS) -> int:
    """Store what a region holds in the archive at an address, and return how many instances that is.

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
    for batch, contexts in _batches(instances):
        association = _associated(region, address, contexts, seconds)
        try:
            for instance in batch:
                status = association.send_c_store(cache / instance.files[region])
                if status.get("Status") != 0x0000:
                    raise LoadError(f"{region} refuses {instance.sop_instance_uid}: {status.get('Status')}")
        finally:
            association.release()
    return len(instances)


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
    ae = AE("LOADER")
    end = time.monotonic() + seconds
    while True:
        association = ae.associate(host, port, contexts=contexts, ae_title=region)
        if association.is_established:
            return association
        if association.is_rejected or time.monotonic() > end:
            raise LoadError(f"{region} at {host}:{port} does not let us in")
        time.sleep(0.5)


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
            sys.stdout.write(f"{region} {load(cache, held, region, address)} instances\n")
            sys.stdout.flush()
    except LoadError as error:
        sys.exit(f"regions: {error}")


if __name__ == "__main__":
    main()
