"""Whether the gateway lives, has started, and takes requests: what a supervisor or load balancer asks for."""

from collections.abc import Callable, Mapping

import orjson

from gateway.web.pages import Page, Visit

Check = Callable[[], str]
"""Says what is wrong; nothing where all is well."""


class Probes:
    """The three probes.

    Regions are no part of them: with one region down, or all of them, another replica would do no better.
    """

    def __init__(self) -> None:
        self._started = False
        self._draining = False
        self._checks: dict[str, Check] = {}

    def require(self, name: str, check: Check) -> None:
        """Take requests only while a check finds nothing wrong."""
        self._checks[name] = check

    def started(self) -> None:
        """Note that all listeners are up."""
        self._started = True

    def drain(self) -> None:
        """Note that the gateway is about to stop."""
        self._draining = True

    @property
    def draining(self) -> bool:
        """Whether it is about to stop."""
        return self._draining

    def problems(self) -> Mapping[str, str]:
        """Return what each check finds; nothing where all is well."""
        found = {
            "started": "" if self._started else "the listeners are not up yet",
            "draining": "the gateway is about to stop" if self._draining else "",
        }
        return found | {name: check() for name, check in self._checks.items()}

    async def livez(self, _: Visit) -> Page:
        """Answer, which is all that this probe wants to know."""
        return _page({"alive": ""})

    async def readyz(self, _: Visit) -> Page:
        """Answer whether requests may be sent here."""
        return _page(self.problems())

    async def startupz(self, _: Visit) -> Page:
        """Answer whether the start is over."""
        return _page({"started": self.problems()["started"]})


def _page(problems: Mapping[str, str]) -> Page:
    ready = not any(problems.values())
    checks = {name: problem or "ok" for name, problem in problems.items()}
    body = orjson.dumps({"status": "ok" if ready else "unavailable", "checks": checks})
    return Page(body, "application/json", 200 if ready else 503)
