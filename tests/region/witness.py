"""An observer that remembers."""

from typing import TypeVar

from gateway.events import Event

EventT = TypeVar("EventT", bound=Event)


class Witness(list[Event]):
    """Every event, in order."""

    def __call__(self, event: Event) -> None:
        self.append(event)

    def of(self, kind: type[EventT]) -> list[EventT]:
        """Return the events of one kind."""
        return [event for event in self if isinstance(event, kind)]
