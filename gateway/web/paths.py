"""The UIDs in a resource path (PS3.18 10.1)."""

from starlette.requests import Request

from gateway.dataset.query import Selection
from gateway.dataset.uid import is_uid
from gateway.errors import RequestError

LEVELS = ("study", "series", "instance")


def uid_parameters(request: Request) -> dict[str, str]:
    """Return the UIDs that the path names, by level.

    Raises:
        RequestError: one has not the form of a UID.
    """
    uids = {level: request.path_params[level] for level in LEVELS if level in request.path_params}
    for level, uid in uids.items():
        if not is_uid(uid):
            raise RequestError(f"the {level} in the path is no UID: expected digits and dots, at most 64 (PS3.5 9.1)")
    return uids


def selection(request: Request) -> Selection:
    """Return what a Retrieve resource selects."""
    uids = uid_parameters(request)
    instance = uids.get("instance")
    return Selection(uids["study"], uids.get("series"), (instance,) if instance else ())
