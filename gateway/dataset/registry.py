"""The registries of PS3.6, as the installed pydicom has them, without pydicom.

Two of its modules are nothing but literals: the Data Dictionary and the UIDs. To import them by name runs the
package around them first, with its pixel handlers, numpy and an HTTP client: most of what a gateway process took to
start. So the two files are found beside the package, which finding does not run, and each is executed by itself.
"""

from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Final, TypeAlias

Line: TypeAlias = tuple[str, str, str, str, str]
"""VR, Value Multiplicity, name, "Retired" or nothing, keyword."""

Naming: TypeAlias = tuple[str, str, str, str, str]
"""Name, type, further information, "Retired" or nothing, keyword."""


def _literals(name: str) -> ModuleType:
    package = find_spec("pydicom")
    if package is None or package.origin is None:
        raise ModuleNotFoundError("pydicom is not installed: its registries of PS3.6 are ours", name="pydicom")
    spec = spec_from_file_location(f"{__name__}.{name}", Path(package.origin).with_name(f"{name}.py"))
    if spec is None or spec.loader is None:
        raise ModuleNotFoundError(f"this pydicom has no {name}", name=f"pydicom.{name}")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_ELEMENTS: Final = _literals("_dicom_dict")

ELEMENTS: Final[dict[int, Line]] = _ELEMENTS.DicomDictionary
"""Each tag of PS3.6 sections 6 to 9."""

REPEATERS: Final[dict[str, Line]] = _ELEMENTS.RepeatersDictionary
"""Repeating groups, by eight digits of which some are ``x``."""

UIDS: Final[dict[str, Naming]] = _literals("_uid_dict").UID_dictionary
"""Each UID of PS3.6 Annex A."""
