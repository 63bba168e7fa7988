"""How far a transfer is: bars in a terminal, a line now and then elsewhere."""

import sys
import time
from types import TracebackType
from typing import Final, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from gateway.cli.output import tell

EVERY: Final = 2.0
"""Seconds between two lines where there is no terminal."""

MIB: Final = 1 << 20


class Count:
    """What has come from one place, or gone there."""

    def __init__(self) -> None:
        self.instances = 0
        self.size = 0
        self._began = time.monotonic()

    @property
    def rate(self) -> float:
        """MiB a second."""
        return self.size / MIB / max(time.monotonic() - self._began, 1e-3)

    def __str__(self) -> str:
        return f"{self.instances} instances, {self.size / MIB:.1f} MiB, {self.rate:.1f} MiB/s"


class Meter:
    """Counts instances and bytes by region, and shows them as long as the context lasts.

    Attributes:
        total: instances that are expected; 0 while that is not known.
        by_region: what has come so far.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self.total = 0
        self.by_region: dict[str, Count] = {}
        self._all = Count()
        self._quiet = quiet
        self._told_at = time.monotonic()
        console = Console(stderr=True)
        self._is_terminal = console.is_terminal and not quiet
        columns = (TextColumn("{task.description:12}"), BarColumn(bar_width=24), TextColumn("{task.fields[text]}"))
        self._bars = Progress(*columns, console=console, disable=not self._is_terminal)
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._bars.stop()

    def moved(self, region: str, size: int) -> None:
        """Count bytes."""
        self._of(region).size += size
        self._all.size += size
        self._show(region)

    def done(self, region: str) -> None:
        """Count an instance."""
        self._of(region).instances += 1
        self._all.instances += 1
        self._show(region)

    @property
    def line(self) -> str:
        """All of it in a line."""
        of = f" of {self.total}" if self.total else ""
        regions = "; ".join(f"{name} {count}" for name, count in self.by_region.items())
        left = f", {self.seconds_left:.0f} s left" if self.seconds_left is not None else ""
        return f"{self._all.instances}{of} instances, {self._all.size / MIB:.1f} MiB{left} - {regions}"

    @property
    def seconds_left(self) -> float | None:
        """Seconds until the rest is here, at the rate so far; None while that cannot be told."""
        done, total = self._all.instances, self.total
        if not done or total <= done or not self._all.rate:
            return None
        return self._all.size / done * (total - done) / MIB / self._all.rate

    def _of(self, region: str) -> Count:
        return self.by_region.setdefault(region, Count())

    def _show(self, region: str) -> None:
        if self._is_terminal:
            self._draw("all", self._all, self.total)
            self._draw(region, self.by_region[region], self._all.instances)
        elif not self._quiet and time.monotonic() - self._told_at >= EVERY:
            self._told_at = time.monotonic()
            tell(self.line)

    def _draw(self, name: str, count: Count, total: int) -> None:
        if name not in self._tasks:
            self._tasks[name] = self._bars.add_task(name, total=None, text="")
        left = f", {self.seconds_left:.0f} s left" if name == "all" and self.seconds_left is not None else ""
        text = f"{count}{left}"
        self._bars.update(self._tasks[name], completed=count.instances, total=total or None, text=text)
        sys.stderr.flush()
