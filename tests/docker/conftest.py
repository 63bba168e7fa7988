"""A gateway over a small archive, for the checks of the containers."""

from tests.interop.conftest import served_gateway

__all__ = ["served_gateway"]
