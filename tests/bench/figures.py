"""How a measurement is taken and how it is shown."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table.

    Attributes:
        row: the letter of the target it belongs to.
        what: what was done.
        ours: our median.
        theirs: the median of who we are compared with; empty where the target is absolute.
        result: the number that is held against the target.
        target: the target.
        passed: whether it is met.
    """

    row: str
    what: str
    ours: str
    theirs: str
    result: str
    target: str
    passed: bool

    @property
    def cells(self) -> tuple[str, ...]:
        return (
            self.row,
            self.what,
            self.ours,
            self.theirs,
            self.result,
            self.target,
            ("PASS" if self.passed else "FAIL") if self.target else "",
        )


HEADINGS = ("", "what", "gateway", "compared with", "result", "target", "")


def table(figures: Sequence[Figure]) -> str:
    """Lay the figures out in columns that a README can hold as they are."""
    lines = [HEADINGS, *(figure.cells for figure in figures)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADINGS))]
    shown = ["| " + " | ".join(map(str.ljust, line, widths)) + " |" for line in lines]
    return "\n".join([shown[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *shown[1:]])


def faster(row: str, what: str, ours: float, theirs: float, whose: str, target: float) -> Figure:
    """Make the figure of two durations in seconds: how many times shorter ours is."""
    return ratio(row, what, measure(ours, "s"), f"{whose} {measure(theirs, 's')}", theirs / ours, target)


def more(row: str, what: str, ours: float, theirs: float, whose: str, unit: str, target: float) -> Figure:
    """Make the figure of two rates: how many times higher ours is."""
    return ratio(row, what, measure(ours, unit), f"{whose} {measure(theirs, unit)}", ours / theirs, target)


def ratio(row: str, what: str, ours: str, theirs: str, value: float, target: float) -> Figure:
    return Figure(row, what, ours, theirs, f"{value:.2f}x", f">= {target:g}x", value >= target)


def share(row: str, what: str, ours: float, theirs: float, whose: str, target: float | None) -> Figure:
    """Make the figure of two durations in seconds: ours as a share of theirs; without a target it only informs."""
    value = ours / theirs
    goal = "" if target is None else f"<= {target:.3g}x"
    met = target is None or value <= target
    return Figure(row, what, measure(ours, "s"), f"{whose} {measure(theirs, 's')}", f"{value:.2f}x", goal, met)


def below(row: str, what: str, ours: float, target: float, unit: str) -> Figure:
    """Make the figure of a quantity that shall stay below a bound."""
    return Figure(row, what, measure(ours, unit), "", measure(ours, unit), f"< {target:g} {unit}", ours < target)


def above(row: str, what: str, ours: float, target: float, unit: str) -> Figure:
    """Make the figure of a quantity that shall reach a bound."""
    return Figure(row, what, measure(ours, unit), "", measure(ours, unit), f">= {target:g} {unit}", ours >= target)


def measure(value: float, unit: str) -> str:
    """Write a quantity with three digits; seconds in the unit that a person would choose."""
    if unit == "s" and value < 0.1:
        value, unit = (value * 1e3, "ms") if value >= 1e-3 else (value * 1e6, "µs")
    return f"{value:.3g} {unit}" if value < 1000 else f"{value:.0f} {unit}"


def interleaved(contestants: Mapping[str, Callable[[], T]], runs: int = 5) -> dict[str, list[T]]:
    """Return what each contestant gave in each run.

    They take turns, so that what disturbs the machine disturbs all of them; the first round warms up and is left out.
    """
    values: dict[str, list[T]] = {name: [] for name in contestants}
    for run in range(runs + 1):
        for name, contestant in contestants.items():
            value = contestant()
            if run:
                values[name].append(value)
    return values


def medians(contestants: Mapping[str, Callable[[], float]], runs: int = 5) -> dict[str, float]:
    """Return each contestant's median over interleaved runs."""
    return {name: statistics.median(values) for name, values in interleaved(contestants, runs).items()}
