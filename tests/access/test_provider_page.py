"""The page on OpenID providers: what it tells to write down can be read."""

import re
import tomllib
from importlib import resources
from typing import Any

import pytest

from gateway.config.access import AccessSettings, TokenIssuer

PAGE = (resources.files("gateway") / "docs" / "openid-provider.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
NEEDED = {"issuer": "i", "audiences": ["a"], "jwks_file": "keys.json"}
CHOSEN = {
    "cookie": "",
    "purpose": "TREAT",
    "leeway_seconds": 60.0,
    "subject_requests_per_second": 0.0,
    "subject_burst": 1,
    "organisation_requests_per_second": 0.0,
    "organisation_burst": 1,
}


def test_there_is_the_whole_and_the_three_shapes() -> None:
    assert len(EXAMPLES) == 4


@pytest.mark.parametrize("example", EXAMPLES)
def test_every_example_is_a_configuration(example: str) -> None:
    values: dict[str, Any] = tomllib.loads(example)
    access = values.get("access", {})
    if "mode" in access:
        assert AccessSettings.model_validate({**CHOSEN, **access}).issuers
        return
    issuer = access["issuers"] if access else values
    assert TokenIssuer.model_validate({**NEEDED, **issuer}).claims != TokenIssuer.model_validate(NEEDED).claims
