"""The Presentation Contexts we propose to a region (PS3.8 7.1.1.13)."""

from collections.abc import Collection

from gateway.dataset import transfer_syntax as ts
from gateway.dimse.sop_classes import STUDY_ROOT_FIND, STUDY_ROOT_GET, STUDY_ROOT_MOVE, VERIFICATION
from gateway.errors import LimitExceeded
from gateway.wire.negotiation import ProposedContext

FIND, MOVE, GET = STUDY_ROOT_FIND, STUDY_ROOT_MOVE, STUDY_ROOT_GET

EXPLICIT_FIRST = (ts.EXPLICIT_VR_LE, ts.IMPLICIT_VR_LE)
UNCOMPRESSED = (*EXPLICIT_FIRST, ts.EXPLICIT_VR_BE)
COMPRESSED = (
    *(ts.JPEG_BASELINE, ts.JPEG_EXTENDED, ts.JPEG_LOSSLESS, ts.JPEG_LOSSLESS_SV1),
    *(ts.JPEG_LS_LOSSLESS, ts.JPEG_LS_NEAR_LOSSLESS, ts.JPEG_2000_LOSSLESS, ts.JPEG_2000),
    *(ts.HTJ2K_LOSSLESS, ts.HTJ2K_LOSSLESS_RPCL, ts.HTJ2K, ts.RLE_LOSSLESS),
    *(ts.MPEG2_MAIN, ts.MPEG4_HIGH_41, ts.MPEG4_HIGH_42_2D, ts.HEVC_MAIN, ts.DEFLATED_EXPLICIT_VR_LE),
)

QUERY_CONTEXTS = tuple(
    ProposedContext(abstract_syntax, EXPLICIT_FIRST) for abstract_syntax in (VERIFICATION, FIND, MOVE)
)
"""Study Root C-FIND and C-MOVE and C-ECHO together, so that one idle association serves whatever comes next."""

MOST_CONTEXTS = 128


def get_contexts(sop_classes: Collection[str]) -> tuple[ProposedContext, ...]:
    """Propose C-GET, and each SOP Class with ourselves as its SCP (PS3.7 D.3.3.4).

    An acceptor chooses one Transfer Syntax a context, so each compressed one gets a context of its own: a study of
    mixed Transfer Syntaxes comes as it is stored. Where that would be too many, a class gets one context for all.

    Raises:
        LimitExceeded: more SOP Classes than an association has contexts.
    """
    groups: list[tuple[str, ...]] = [UNCOMPRESSED, *((uid,) for uid in COMPRESSED)]
    if len(sop_classes) * len(groups) >= MOST_CONTEXTS:
        groups = [(*UNCOMPRESSED, *COMPRESSED)]
    if len(sop_classes) >= MOST_CONTEXTS:
        raise LimitExceeded("more SOP Classes than one C-GET can bring: ask for single series", limit="contexts")
    storage = (ProposedContext(uid, group, scp_role=True) for uid in sorted(sop_classes) for group in groups)
    return (ProposedContext(GET, EXPLICIT_FIRST), *storage)
