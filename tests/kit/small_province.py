"""A small embedded province that nobody else uses: what others store in theirs at the same time is not in it."""

import shutil
from pathlib import Path

from regions.plan import SMALL
from regions.province import generate
from regions.truth import default_cache


def small_province(home: Path) -> Path:
    """Copy the small province of the cache, which is made where it is not there, and return the copy's folder.

    It is where ``gateway demo`` looks for it with ``XDG_CACHE_HOME`` set to `home`.
    """
    cache = default_cache(1, SMALL.name)
    generate(cache, scale=SMALL)
    own = home / cache.parent.name / cache.name
    shutil.copytree(cache, own, ignore=shutil.ignore_patterns("received"))
    return own
