"""The request field by which a clinician overrides what a patient directs ("break the glass")."""

import re
from typing import Final

from starlette.types import Scope

from gateway.access.consents import Reason
from gateway.access.fhir_terms import reasons
from gateway.errors import RequestError

FIELD: Final = b"consent-override"
_REASON: Final = re.compile(r'\s*reason\s*=\s*"?(?P<code>[a-z-]+)"?\s*')


def override_reason(scope: Scope) -> Reason | None:
    """Return why the caller overrides what patients direct, None where it does not.

    Raises:
        RequestError: the field gives no reason; the text lists those that there are.
    """
    found = [value for name, value in scope["headers"] if name == FIELD]
    if not found:
        return None
    given = _REASON.fullmatch(str(found[0], "latin-1"))
    if len(found) > 1 or given is None or given["code"] not in list(Reason):
        raise RequestError(f"Consent-Override: reason=CODE gives one of the reasons {reasons()}")
    return Reason(given["code"])
