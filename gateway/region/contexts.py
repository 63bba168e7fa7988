"""The Presentation Contexts we propose to a region (PS3.8 7.1.1.13)."""

from collections.abc import Collection

from gateway.dataset import transfer_syntax as ts
from gateway.dimse.sop_classes import (
    PATIENT_ROOT_FIND,
    STUDY_ROOT_FIND,
    STUDY_ROOT_GET,
    STUDY_ROOT_MOVE,
    VERIFICATION,
)
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

RELATIONAL_AND_COMBINED = b"\1\1\0\0"
"""What we ask for in extended negotiation (PS3.4 C.5.1.1.2.1): relational queries, combined date and time matching.

Not fuzzy matching: it would hold for every name on the association, by the archive's rule instead of ours, and
wildcards have no meaning in it. Not timezone adjustment: no archive shall rewrite dates, and the gateway matches them.
"""

QUERY_CONTEXTS = (
    ProposedContext(VERIFICATION, EXPLICIT_FIRST),
    ProposedContext(FIND, EXPLICIT_FIRST, extended=RELATIONAL_AND_COMBINED),
    ProposedContext(MOVE, EXPLICIT_FIRST),
    ProposedContext(PATIENT_ROOT_FIND, EXPLICIT_FIRST, extended=RELATIONAL_AND_COMBINED),
)
"""C-FIND, C-MOVE and C-ECHO together, so that one idle association serves whatever comes next.

Patient Root is for an archive that has no Study Root C-FIND: each association tells, so nothing has to be probed.
"""

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
