"""Where a key stands in a TOML file: mistakes are told by line."""

import pytest

from gateway.config.lines import Place, line_of

TEXT = """\
# settings
[http]
port = 8080   # a comment

  "host" = "x"
[store]
required = [
    "PatientID",
    "= not a key",
]
default = ["A"]

[[store.rules]]
regions = ["A"]
[[store.rules]]
modality = ["CT"]
regions = ["B"]
[identity]
issuers = [
  { issuer = "X" },
  { issuer = "Y", oid = "1.2" },
]
provincial_issuer = \"\"\"
several
lines\"\"\"
dimse.port = 1
"""


@pytest.mark.parametrize(
    ("place", "line"),
    [
        (("http",), 2),
        (("http", "port"), 3),
        (("http", "host"), 5),
        (("store", "required"), 7),
        (("store", "default"), 11),
        (("store", "rules", 0, "regions"), 14),
        (("store", "rules", 1, "regions"), 17),
        (("identity", "issuers", 1, "oid"), 19),
        (("identity", "provincial_issuer"), 23),
        (("identity", "dimse", "port"), 26),
    ],
)
def test_the_line_of_a_key_is_that_on_which_its_statement_begins(place: Place, line: int) -> None:
    assert line_of(TEXT, place) == line


@pytest.mark.parametrize(("place", "line"), [(("http", "absent"), 2), (("absent", "key"), 1), ((), 1)])
def test_a_key_that_is_not_there_is_told_by_its_table(place: Place, line: int) -> None:
    assert line_of(TEXT, place) == line


def test_the_lines_of_a_file_from_windows_are_counted_alike() -> None:
    assert line_of(TEXT.replace("\n", "\r\n"), ("store", "default")) == 11
