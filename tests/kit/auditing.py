"""An auditor in memory, that can be told to fail."""

from gateway.audit.record import Event, Record
from gateway.errors import AuditUnavailable


class InMemoryAuditor:
    """Keeps records in a list; while ``broken`` it keeps nothing and says so, as a full disk would.

    Attributes:
        records: what was recorded, in order.
        broken: whether recording fails.
    """

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.broken = False

    async def record(self, record: Record) -> None:
        if self.broken:
            raise AuditUnavailable("the audit log cannot be written (No space left on device)")
        self.records.append(record)

    def of(self, *events: Event) -> list[Record]:
        return [record for record in self.records if record.event in events]
