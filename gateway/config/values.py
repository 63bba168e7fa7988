"""What the value of a key may be, where more than one file has such keys."""

import re
from typing import Annotated

from pydantic import AfterValidator, Field


def _ae_title(value: str) -> str:
    if not 1 <= len(value.strip()) <= 16 or not value.isascii() or not value.isprintable() or "\\" in value:
        raise ValueError("an AE title has 1 to 16 printable ASCII characters and no backslash (PS3.5 6.2)")
    return value.strip()


def _web_address(value: str) -> str:
    if value and not re.fullmatch(r"https?://[^\s/?#@]+(/[^\s?#]*)?", value):
        raise ValueError('it begins with "https://" or "http://" and has neither user, query nor fragment')
    return value


AETitle = Annotated[str, AfterValidator(_ae_title)]
Host = Annotated[str, Field(min_length=1)]
Integer = Annotated[int, Field(strict=True)]
Seconds = Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False)]
Count = Annotated[Integer, Field(ge=1)]
WebAddress = Annotated[str, AfterValidator(_web_address)]
