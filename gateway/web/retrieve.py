"""The Retrieve transaction: one handler for each kind of resource (PS3.18 10.4, chapter 9)."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import Response

from gateway.access.principal import Transaction
from gateway.dataset.codestreams import OCTET_STREAM
from gateway.dataset.query import Selection
from gateway.deadline import Deadline
from gateway.errors import RequestError
from gateway.web.archive import Archive
from gateway.web.asked import Asked, wishes
from gateway.web.bulk_data import BulkData, Value
from gateway.web.formats import XML, ZIP, Default, Form, Wishes
from gateway.web.frames import Frames, frame_list
from gateway.web.instances import Instances
from gateway.web.locations import Locations
from gateway.web.metadata import Metadata, XmlMetadata
from gateway.web.negotiation import DICOM, JSON_TYPES, check_charset, preferences
from gateway.web.parameters import Pair, pairs
from gateway.web.paths import selection
from gateway.web.policy import permit_of
from gateway.web.rendered import Rendered, wants_parts
from gateway.web.rendered_parameters import rendering, thumbnail
from gateway.web.representative import Representatives
from gateway.web.retrieval import Representation, RetrieveResponse
from gateway.web.wado_uri import uri_request

if TYPE_CHECKING:
    from gateway.federation.retrieve import FederatedRetrieve
    from gateway.federation.workers import Workers

METADATA_FORMS = (*(Form(name, single=True) for name in JSON_TYPES), Form(XML))
INSTANCE_FORMS = (Form(DICOM), Form(DICOM, single=True), Form(OCTET_STREAM, named=True))
STUDY_FORMS = (Form(DICOM), Form(OCTET_STREAM, named=True), Form(ZIP, single=True, named=True))


@dataclass(frozen=True, slots=True)
class Retrieve:
    """Answers the Retrieve resources from the federation.

    Attributes:
        seconds: until the first byte of a response.
    """

    federation: "FederatedRetrieve"
    representatives: Representatives
    workers: "Workers"
    locations: Locations
    default_transfer_syntax: Default
    seconds: float

    async def instances(self, request: Request) -> Response:
        """Retrieve a study, a series or an instance: its files, its bulk data, or an archive."""
        asked = self._asked(request)
        container = asked.wishes.choose(INSTANCE_FORMS if asked.selected.instances else STUDY_FORMS)
        written: Representation
        if container.media_type == ZIP:
            written = Archive(asked, container)
        elif container.media_type == OCTET_STREAM:
            written = BulkData(asked)
        else:
            written = Instances(asked, container)
        return self._response(asked, written)

    async def metadata(self, request: Request) -> Response:
        """Retrieve the metadata of a study, a series or an instance."""
        asked = self._asked(request)
        form = asked.wishes.choose(METADATA_FORMS)
        return self._response(asked, Metadata(asked, form.media_type) if form.single else XmlMetadata(asked))

    async def frames(self, request: Request) -> Response:
        """Retrieve frames of an instance."""
        numbers = frame_list(request.path_params["frames"])
        asked = self._asked(request)
        return self._response(asked, Frames(asked, numbers))

    async def pixel_data(self, request: Request) -> Response:
        """Retrieve all frames of a study, a series or an instance."""
        asked = self._asked(request)
        return self._response(asked, Frames(asked, one_instance=bool(asked.selected.instances)))

    async def bulk_data(self, request: Request) -> Response:
        """Retrieve all bulk data of a study, a series or an instance."""
        asked = self._asked(request)
        return self._response(asked, BulkData(asked))

    async def value(self, request: Request) -> Response:
        """Retrieve what a BulkDataURI names."""
        asked = self._asked(request)
        path, _, frames = request.path_params["path"].partition("/frames/")
        if frames:
            return self._response(asked, Frames(asked, frame_list(frames)))
        return self._response(asked, Value(asked, path))

    async def rendered(self, request: Request) -> Response:
        """Retrieve a study, a series, an instance or frames as a person looks at them."""
        asked = self._asked(request)
        look = rendering(asked.parameters)
        numbers = frame_list(request.path_params["frames"]) if "frames" in request.path_params else ()
        if asked.selected.instances:
            return self._response(asked, Rendered(asked, look, numbers))
        if wants_parts(asked.wishes):
            return self._response(asked, Rendered(asked, look, many=True))
        return await self._of_one(asked, Rendered(asked, look))

    async def thumbnail(self, request: Request) -> Response:
        """Retrieve one small picture for a study, a series, an instance or a frame; it shows no name."""
        asked = self._asked(request)
        numbers = frame_list(request.path_params["frames"]) if "frames" in request.path_params else ()
        if len(numbers) > 1:
            raise RequestError("the frame list in the path: expected one number, since a thumbnail is one picture")
        written = Rendered(asked, thumbnail(asked.parameters), numbers, thumbnail=True)
        return self._response(asked, written) if asked.selected.instances else await self._of_one(asked, written)

    async def uri(self, request: Request) -> Response:
        """Retrieve one instance by WADO-URI."""
        self.workers.expect()
        check_charset(pairs(request.scope["query_string"]))
        wanted = uri_request(request, self.default_transfer_syntax)
        asked = Asked(wanted.selected, wanted.wishes, (), request, self.locations, self.workers)
        if wanted.as_dicom:
            return self._response(asked, Instances(asked, Form(DICOM, single=True)))
        written = Rendered(asked, wanted.rendering, wanted.frames, region=wanted.region, alone=True)
        return self._response(asked, written)

    def of_uri(self, request: Request) -> Transaction:
        """Return the transaction of a WADO-URI request; a malformed one is told so by its handler."""
        try:
            as_dicom = uri_request(request, self.default_transfer_syntax).as_dicom
        except RequestError:
            as_dicom = False
        return Transaction.RETRIEVE if as_dicom else Transaction.RENDERED

    def _asked(self, request: Request) -> Asked:
        self.workers.expect()
        parameters: tuple[Pair, ...] = tuple(pairs(request.scope["query_string"]))
        check_charset(parameters)
        taken: Wishes = wishes(request, parameters, self.default_transfer_syntax)
        return Asked(selection(request), taken, parameters, request, self.locations, self.workers)

    async def _of_one(self, asked: Asked, written: Representation) -> Response:
        """Answer for many with one of them."""
        one = await self.representatives.of(asked.selected, self._deadline(asked), permit_of(asked.request.scope))
        return self._response(asked, written, one)

    def _deadline(self, asked: Asked) -> Deadline:
        wait = preferences(asked.request).wait
        return Deadline.after(self.seconds if wait is None else min(self.seconds, wait))

    def _response(self, asked: Asked, written: Representation, selected: Selection | None = None) -> Response:
        return RetrieveResponse(
            self.federation,
            selected or asked.selected,
            written,
            self._deadline(asked),
            service=self.locations.base,
            strict=preferences(asked.request).strict,
        )
