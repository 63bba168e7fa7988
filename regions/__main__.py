"""`python -m regions`: the synthetic province in four archives, as one command."""

import argparse
import asyncio
import sys
from pathlib import Path

from regions.supervisor import Settings, StartError, supervise
from regions.truth import SCALES, default_cache


def main() -> None:
    """Run the province until told to end."""
    parser = argparse.ArgumentParser(prog="python -m regions", description="four archives with a synthetic province")
    parser.add_argument(
        "--base-port", type=int, default=11201, help="port of the first archive; 0 for any that are free"
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--cache", type=Path, help="where the province is kept")
    parser.add_argument("--destination", action="append", help="AE=host:port of a Move Destination, repeatable")
    parser.add_argument("--profiles", type=Path, help="write the regions' profiles here")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--scale", choices=SCALES, default=SCALES[0])
    parser.add_argument("--stdin-guard", action="store_true", help="end when standard input ends")
    options = parser.parse_args()
    settings = Settings(
        cache=options.cache or default_cache(options.seed, options.scale),
        seed=options.seed,
        scale=options.scale,
        host=options.host,
        base_port=options.base_port,
        destinations=options.destination or ["GATEWAY=127.0.0.1:11112"],
        profiles=options.profiles,
    )
    try:
        asyncio.run(supervise(settings, stdin_guard=options.stdin_guard))
    except StartError as error:
        sys.exit(f"regions: {error}")


if __name__ == "__main__":
    main()
