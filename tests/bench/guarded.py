"""(z): what tokens, consent directives and the audit log cost, beside a gateway that asks nobody anything."""

import asyncio
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import orjson

from gateway.access.sqlite import sqlite
from tests.access.issuing import Issuer, real_time
from tests.bench import samples
from tests.bench.figures import Figure, interleaved, more, ratio
from tests.bench.setting import CURL, Setting
from tests.interop.serving import JSON, MULTIPART, ROOT

DIRECTIVES = 100_000
RUNS = 7
UNLIMITED = '[access]\nmode = "{}"\nsubject_requests_per_second = 0.0\norganisation_requests_per_second = 0.0\n'


def cost(setting: Setting) -> list[Figure]:
    """Compare a QIDO-RS of one study and a WADO-RS of a large one with and without all of it."""
    issuer = real_time()
    token = issuer.token(sub="bench", uao="org:hospital", roles=["clinician"], exp=int(issuer.now) + 3600)
    open_ = setting.over_archive("c-move", f'{UNLIMITED.format("open")}[dimse]\nunknown_peers = "loopback"\n')
    guarded = setting.over_archive("c-move", _settings(setting.home, issuer))
    query, study = f"/dicom-web/studies?StudyInstanceUID={samples.small_study_uid(77)}", f"/studies/{samples.CT_STUDY}"
    contestants = {"open": (open_, ""), "guarded": (guarded, f"Bearer {token}")}
    rates = interleaved({x: lambda y=y: _rate(y[0].http_port, query, y[1]) for x, y in contestants.items()}, RUNS)  # type: ignore[misc]
    times = interleaved({x: lambda y=y: _fetch(y[0].url + study, y[1]) for x, y in contestants.items()}, 2 * RUNS)  # type: ignore[misc]
    # The best of each: what disturbs the machine makes nothing faster.
    best = {name: max(values) for name, values in rates.items()}
    shortest = {name: min(values) for name, values in times.items()}
    what = f"with tokens, {DIRECTIVES} directives, audit"
    return [
        more("z", f"QIDO {what}", best["guarded"], best["open"], "open", "requests/s", 0.85),
        ratio(
            "z", f"WADO {what}", f"{shortest['guarded'] * 1e3:.0f} ms", f"open {shortest['open'] * 1e3:.0f} ms",
            shortest["open"] / shortest["guarded"], 0.97,
        ),
    ]  # fmt: skip


def _settings(home: Path, issuer: Issuer) -> str:
    believed = issuer.settings(home)
    asyncio.run(_empty(home / "consent.sqlite"))
    rule = orjson.dumps({"rules": [{"effect": "deny", "organisation": "org:elsewhere"}], "override": None})
    with closing(sqlite3.connect(home / "consent.sqlite")) as database, database:  # one commit instead of 100,000
        database.executemany(
            "INSERT INTO consent (id, version, status, issuer, value, updated_at, current, content, document)"
            " VALUES (?, 1, 'active', 'orthanc', ?, 0, 1, ?, '{}')",
            ((f"d{at}", f"P{at}", rule) for at in range(DIRECTIVES)),
        )
    return (
        UNLIMITED.format("tokens")
        + f'[[access.issuers]]\nissuer = "{believed.issuer}"\naudiences = ["{believed.audiences[0]}"]\n'
        f'jwks_file = "{believed.jwks_file}"\nclaims = {{ organisation = "uao", roles = "roles" }}\n'
        f'[audit]\nfolder = "{home}/audit"\n[consent]\ndatabase = "{home}/consent.sqlite"\n'
        '[dimse]\nunknown_peers = "loopback"\n'
    )


async def _empty(path: Path) -> None:
    async with sqlite(path):
        pass


def _rate(port: int, path: str, authorization: str) -> float:
    command = [sys.executable, "-m", "tests.bench.load", str(port), JSON, "16", "1.5", path]
    told = {**os.environ, "AUTHORIZATION": authorization}
    return float(subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT, env=told).stdout)


def _fetch(url: str, authorization: str) -> float:
    fields = ["-H", f"Accept: {MULTIPART}", *(["-H", f"Authorization: {authorization}"] if authorization else [])]
    command = [CURL, "-sS", "-o", "/dev/null", *fields, "-w", "%{http_code} %{time_total}", url]
    status, _, seconds = subprocess.run(command, check=True, capture_output=True, text=True).stdout.partition(" ")
    if status != "200":
        raise RuntimeError(f"{url}: {status}")
    return float(seconds)
