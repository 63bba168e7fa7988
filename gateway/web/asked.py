"""What one Retrieve request asks for, as every representation needs to know it."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from starlette.requests import Request

from gateway.dataset.query import Selection
from gateway.dataset.uid import is_uid
from gateway.web.formats import Default, Wishes
from gateway.web.locations import Locations
from gateway.web.negotiation import accepted
from gateway.web.parameters import Pair

if TYPE_CHECKING:
    from gateway.federation.retrieval import Instance
    from gateway.federation.workers import Workers


@dataclass(frozen=True, slots=True)
class Asked:
    """One request.

    Attributes:
        selected: what its path names.
        wishes: what forms its caller takes.
        parameters: its query component.
        request: it itself, for its header.
    """

    selected: Selection
    wishes: Wishes
    parameters: tuple[Pair, ...]
    request: Request
    locations: Locations
    workers: "Workers"

    def location(self, instance: "Instance", tail: str = "") -> str | None:
        """Return the URL of an instance or of a part of it, None where its series or a proper UID is not known."""
        series = self.selected.series or instance.series_instance_uid
        uid = instance.sop_instance_uid
        if series is None or not is_uid(uid) or not is_uid(series):
            return None
        return self.locations.resource(self.selected.study, series, uid) + tail


def wishes(request: Request, parameters: tuple[Pair, ...], default: Default) -> Wishes:
    """Return what forms the caller takes."""
    return Wishes(accepted(request, parameters), default)
