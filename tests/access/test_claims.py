"""Claims of the issuers that there are: Ontario's ONE ID, IHE IUA, SMART App Launch."""

from typing import Any

import pytest

from gateway.access.claims import Reading, find
from gateway.access.principal import Transaction
from gateway.config.access import TokenIssuer
from gateway.dataset.patient import PatientIdentifier
from gateway.errors import Unauthenticated

KEYS = {"jwks_file": "unread"}

ONE_ID = TokenIssuer.model_validate(
    {
        **KEYS,
        "issuer": "https://login.example/oidc",
        "audiences": ("https://imaging.example",),
        "claims": {"organisation": "uao", "organisation_name": "uaoName", "person": "rid"},
        "scopes": {"search": ["user/ImagingStudy.read"], "retrieve": ["user/ImagingStudy.read"], "store": []},
    }
)
IUA = TokenIssuer.model_validate(
    {
        **KEYS,
        "issuer": "iua",
        "audiences": ("rs",),
        "claims": {
            "organisation": "extensions.ihe_iua.subject_organization_id",
            "organisation_name": "extensions.ihe_iua.subject_organization",
            "person": "extensions.ihe_iua.national_provider_identifier",
            "roles": "extensions.ihe_iua.subject_role",
            "purpose": "extensions.ihe_iua.purpose_of_use",
            "patient": "extensions.ihe_iua.person_id",
        },
        "scopes": {"search": ["RAD-129"], "retrieve": ["RAD-107"]},
    }
)
SMART = TokenIssuer.model_validate(
    {
        **KEYS,
        "issuer": "smart",
        "audiences": ("rs",),
        "patient_issuer": "ON-HCN",
        "claims": {"patient": "patient"},
        "scopes": {
            "search": ["patient/ImagingStudy.rs", "user/ImagingStudy.rs"],
            "retrieve": ["patient/ImagingStudy.rs", "user/ImagingStudy.rs"],
        },
    }
)


def test_a_one_id_token_says_under_whose_authority() -> None:
    claims = {
        "sub": "drsmith@oneid",
        "uao": "2.16.840.1.113883.3.239.9:103",
        "uaoType": "org",
        "uaoName": "A Hospital",
        "rid": "cpso:123",
        "scope": "openid user/ImagingStudy.read",
        "jti": "j",
    }
    principal = Reading(ONE_ID).principal(claims)
    assert principal.organisation == "2.16.840.1.113883.3.239.9:103"
    assert (principal.organisation_name, principal.person, principal.token_id) == ("A Hospital", "cpso:123", "j")
    assert principal.scopes == {Transaction.SEARCH, Transaction.RETRIEVE}
    assert principal.patient is None


def test_an_iua_token_names_roles_purpose_and_patient() -> None:
    extension: dict[str, Any] = {
        "subject_organization": "A Hospital",
        "subject_organization_id": "urn:oid:1.2.3",
        "subject_role": [{"system": "urn:oid:2.16.840.1.113883.6.96", "code": "46255001"}],
        "purpose_of_use": [{"system": "urn:oid:1.0.14265.1", "code": "ETREAT"}],
        "national_provider_identifier": "cpso:9",
        "person_id": "543797436^^^&1.2.840.113619.6.197&ISO",
    }
    claims = {"sub": "x", "scope": "RAD-129 RAD-107", "extensions": {"ihe_iua": extension}}
    principal = Reading(IUA).principal(claims)
    assert (principal.organisation, principal.person) == ("urn:oid:1.2.3", "cpso:9")
    assert (principal.roles, principal.purpose) == (frozenset({"46255001"}), "ETREAT")
    assert principal.patient == PatientIdentifier("1.2.840.113619.6.197", "543797436")


def test_a_smart_token_is_bound_to_its_patient() -> None:
    principal = Reading(SMART).principal({"sub": "x", "patient": "9876543217", "scope": "patient/ImagingStudy.rs"})
    assert principal.patient == PatientIdentifier("ON-HCN", "9876543217")
    assert principal.scopes == {Transaction.SEARCH, Transaction.RETRIEVE}


@pytest.mark.parametrize(
    ("stated", "read"),
    [
        ("MRN1", PatientIdentifier("ON-HCN", "MRN1")),
        ("NEODIN|MRN1", PatientIdentifier("NEODIN", "MRN1")),
        ("https://fhir.example/mrn|MRN1", PatientIdentifier("https://fhir.example/mrn", "MRN1")),
        ("MRN1^^^NEODIN", PatientIdentifier("NEODIN", "MRN1")),
        ("MRN1^^^NEODIN&1.2.3&ISO", PatientIdentifier("1.2.3", "MRN1")),
    ],
)
def test_a_patient_is_read_in_each_notation(stated: str, read: PatientIdentifier) -> None:
    assert Reading(SMART).principal({"sub": "x", "patient": stated}).patient == read


@pytest.mark.parametrize("stated", ["", " ", "NEODIN|", [], {}, 7, "x" * 300])
def test_a_patient_that_cannot_be_read_binds_to_nobody_else(stated: object) -> None:
    with pytest.raises(Unauthenticated):
        Reading(SMART).principal({"sub": "x", "patient": stated, "scope": "user/ImagingStudy.rs"})


def test_a_scope_of_one_patient_without_that_patient_is_refused() -> None:
    with pytest.raises(Unauthenticated, match="for one patient"):
        Reading(SMART).principal({"sub": "x", "scope": "patient/ImagingStudy.rs"})


def test_a_scope_of_the_issuer_that_is_not_mapped_allows_nothing() -> None:
    assert Reading(SMART).principal({"sub": "x", "scope": "search/ store user/Patient.rs"}).scopes == {
        Transaction.STORE  # not mapped by the configuration, so its own name counts
    }
    assert Reading(ONE_ID).principal({"sub": "x", "scope": "store"}).scopes == set()


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("a", {"b": 1}),
        ("a.b", 1),
        ("https://x.example/roles", ["r"]),
        ("https://x.example/deep.in", 2),
        ("a.c", None),
        ("", None),
    ],
)
def test_a_path_finds_a_claim_with_dots_in_its_name_too(path: str, found: object) -> None:
    claims = {"a": {"b": 1}, "https://x.example/roles": ["r"], "https://x.example/deep": {"in": 2}}
    assert find(claims, path) == found
