"""``gateway viewer``: the viewer, brought in beforehand."""

import asyncio

from gateway.cli.viewer import fetch


def command() -> None:
    """Bring in the viewer with npm, once, and print its folder for `gateway serve --viewer`."""
    print(asyncio.run(fetch()))
