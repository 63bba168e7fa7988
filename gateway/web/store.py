"""The Store transaction (PS3.18 10.5)."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from starlette.requests import Request
from starlette.responses import Response

from gateway.dataset.part10_reader import Part10Reader
from gateway.errors import DatasetError, Inadmissible
from gateway.federation.permission import record
from gateway.federation.routing import Source
from gateway.hops import hops
from gateway.web.locations import Locations
from gateway.web.negotiation import DICOM, accepted
from gateway.web.parameters import pairs
from gateway.web.paths import uid_parameters
from gateway.web.policy import permit_of
from gateway.web.store_metadata import store_described
from gateway.web.stored import answer, answer_type
from gateway.web.upload import Part, UploadLimits, parts, upload_type

if TYPE_CHECKING:
    from gateway.federation.store import FederatedStore, Intake

CANNOT_UNDERSTAND: Final = 0xC000


@dataclass(frozen=True, slots=True)
class Store:
    """Answers the Studies and Study resources when something is posted to them."""

    federation: "FederatedStore"
    locations: Locations
    limits: UploadLimits

    async def instances(self, request: Request) -> Response:
        """Store instances: nothing of a request that is not whole, each for itself of one that is."""
        study = uid_parameters(request).get("study", "")
        media_type = answer_type(accepted(request, pairs(request.scope["query_string"])))
        kind = upload_type(request, self.limits)
        permit = permit_of(request.scope)
        source = Source(
            "web",
            organisation=permit.principal.organisation,
            address=request.client.host if request.client else "",
            via=hops(),
        )
        async with self.federation.intake(source, study=study) as intake:
            arriving = parts(request, kind, self.limits)
            if kind.root == DICOM:
                async for part in arriving:
                    await _store_file(part, intake)
            else:
                await store_described(arriving, kind.root, intake, self.limits.max_metadata_bytes)
            results = await intake.settle()
            await record(permit, results)
        return answer(results, self.locations, media_type)


async def _store_file(part: Part, intake: "Intake") -> None:
    """Take one Part 10 file in."""
    if part.content_type.type != DICOM:
        intake.refuse(Inadmissible("a part of another media type than the others", status=CANNOT_UNDERSTAND))
        return
    reader = Part10Reader()
    try:
        first = await _until_data_set(reader, part.content)
    except DatasetError as error:
        intake.refuse(Inadmissible(str(error), status=CANNOT_UNDERSTAND))
        return
    if (meta := reader.meta) is not None:
        data = _chained(first, part.content)
        await intake.accept(meta.sop_class_uid, meta.sop_instance_uid, meta.transfer_syntax_uid, data)


async def _until_data_set(reader: Part10Reader, content: AsyncIterator[memoryview]) -> memoryview:
    async for piece in content:
        data = reader.feed(piece)
        if reader.meta is not None:
            return data
    return reader.finish()


async def _chained(first: memoryview, content: AsyncIterator[memoryview]) -> AsyncIterator[memoryview]:
    if first:
        yield first
    async for piece in content:
        yield piece
