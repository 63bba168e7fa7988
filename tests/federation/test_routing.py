"""Which region an instance goes to: the first rule that fits it decides."""

from typing import Any

import pytest

from gateway.config.settings import StoreSettings, load
from gateway.errors import ConfigError, Inadmissible
from gateway.federation.routing import Routing, Traits

REGIONS = ("NEODIN", "SWODIN", "HDIRS")


def settings(*rules: dict[str, Any], default: tuple[str, ...] = ("NEODIN",)) -> StoreSettings:
    return load(None, {"store": {"default": list(default), "rules": list(rules)}}).store


def traits(**values: str) -> Traits:
    return Traits({name: [value] for name, value in values.items()})


def test_first_rule_that_fits_decides() -> None:
    routing = Routing(
        settings({"regions": ["HDIRS"], "modality": ["MG"]}, {"regions": ["SWODIN"], "modality": ["M*"]}), REGIONS
    )
    assert routing.regions(traits(modality="MG")) == ("hdirs",)
    assert routing.regions(traits(modality="MR")) == ("swodin",)


def test_what_no_rule_is_for_goes_to_the_default() -> None:
    routing = Routing(settings({"regions": ["HDIRS"], "modality": ["MG"]}), REGIONS)
    assert routing.regions(traits(modality="CT")) == ("neodin",)


def test_all_that_a_rule_says_must_fit_and_of_each_list_one() -> None:
    rule = {"regions": ["HDIRS", "SWODIN"], "calling_ae_title": ["CLINIC_A", "CLINIC_B"], "modality": ["US"]}
    routing = Routing(settings(rule), REGIONS)
    assert routing.regions(traits(calling_ae_title="CLINIC_B", modality="US")) == ("hdirs", "swodin")
    assert routing.regions(traits(calling_ae_title="CLINIC_B", modality="CT")) == ("neodin",)
    assert routing.regions(traits(calling_ae_title="CLINIC_C", modality="US")) == ("neodin",)


@pytest.mark.parametrize(
    "criterion", ["calling_ae_title", "organisation", "institution", "issuer", "modality", "sop_class"]
)
def test_each_criterion_is_compared_without_regard_to_case(criterion: str) -> None:
    routing = Routing(settings({"regions": ["HDIRS"], criterion: ["Sunny*Clinic"]}), REGIONS)
    assert routing.regions(traits(**{criterion: "SUNNY BROOK CLINIC"})) == ("hdirs",)
    assert routing.regions(traits()) == ("neodin",)


def test_without_rule_and_default_nothing_is_taken() -> None:
    with pytest.raises(Inadmissible, match=r"store\.default"):
        Routing(settings(default=()), REGIONS).regions(traits(modality="CT"))


@pytest.mark.parametrize(
    ("name", "remedy"), [("NEODEN", 'did you mean "NEODIN"'), ("Elsewhere", "known regions are NEODIN, SWODIN, HDIRS")]
)
def test_region_that_has_no_profile_is_refused_with_the_nearest_name(name: str, remedy: str) -> None:
    with pytest.raises(ConfigError, match=remedy):
        Routing(settings(default=(name,)), REGIONS)
    with pytest.raises(ConfigError, match=r"store\.rules\.0\.regions"):
        Routing(settings({"regions": [name]}), REGIONS)
