"""Which resource is answered by which transaction (PS3.18 10.4.1, 10.6.1)."""

from starlette.routing import Route

from gateway.web.retrieve import Retrieve
from gateway.web.search import Search


def routes(root: str, search: Search, retrieve: Retrieve) -> list[Route]:
    """Return the routes below a root path; GET brings HEAD with it."""
    study = f"{root}/studies/{{study}}"
    series = f"{study}/series/{{series}}"
    instance = f"{series}/instances/{{instance}}"
    return [
        Route(f"{root}/studies", search.studies),
        Route(f"{study}/series", search.series),
        Route(f"{series}/instances", search.instances),
        *(Route(resource, retrieve.instances) for resource in (study, series, instance)),
        *(Route(f"{resource}/metadata", retrieve.metadata) for resource in (study, series, instance)),
    ]
