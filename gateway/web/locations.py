"""Where resources are found: URLs below a base that is configured, never taken from a request."""

from gateway.dataset.query import Row


class Locations:
    """Makes RetrieveURL, BulkDataURI and Content-Location (PS3.18 10.4.1).

    Attributes:
        base: the base URI: absolute, or an absolute path where no public URL is configured.
    """

    def __init__(self, root_path: str, public_url: str | None) -> None:
        self.base = f"{(public_url or '').rstrip('/')}{root_path}"

    def resource(self, study: str, series: str | None = None, instance: str | None = None) -> str:
        """Return the URL of a study, of one of its series, or of an instance."""
        url = f"{self.base}/studies/{study}"
        if series:
            url += f"/series/{series}"
        if instance:
            url += f"/instances/{instance}"
        return url


def uid_of(row: Row, tag: str) -> str | None:
    """Return the UID that a row holds, None where it holds none."""
    values = row.get(tag, {}).get("Value")
    return values[0] if values and isinstance(values[0], str) else None
