"""The four region profiles beside this file, and copies of them for archives that run elsewhere."""

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path

from regions.people import REGIONS


@dataclass(frozen=True, slots=True)
class Profile:
    """What a profile says about the archive to start.

    Attributes:
        text: the file as it is written.
    """

    name: str
    ae_title: str
    port: int
    text: str

    def at(self, host: str, port: int) -> str:
        """The same profile for another address."""
        text = re.sub(r"(?m)^host = .*$", f'host = "{host}"', self.text)
        return re.sub(r"(?m)^port = .*$", f"port = {port}", text)


def profiles() -> list[Profile]:
    """The profiles of the province's regions, in the order of their ports."""
    found = []
    for name in REGIONS:
        text = (Path(__file__).parent / f"{name.lower()}.toml").read_text(encoding="utf-8")
        document = tomllib.loads(text)
        found.append(Profile(document["name"], document["ae_title"], document["port"], text))
    return found
