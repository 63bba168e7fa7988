"""What the identifiers of the settings and of the regions are called in FHIR."""

from collections.abc import Sequence

from gateway.access.fhir_terms import Naming
from gateway.config.settings import Settings
from gateway.federation.issuers import Issuers
from gateway.region.profile import Profile


def consent_naming(settings: Settings, issuers: Issuers, profiles: Sequence[Profile] = ()) -> Naming:
    """Return how consents name patients, organisations and persons (FHIR R4 2.24.0.5)."""
    known = {issuers.name(settings.identity.provincial_issuer)} if settings.identity.provincial_issuer else set()
    known |= {issuer.name for issuer in issuers}
    for profile in profiles:
        known |= {issuers.name(profile.namespace), *map(issuers.name, profile.other_issuers_of_patient_id)}
    return Naming(
        issuer=issuers.name,
        system=lambda name: issuers.issuer(name).system or name,
        known=known,
        organisation=settings.consent.organisation_system,
        person=settings.consent.person_system,
    )
