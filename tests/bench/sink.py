"""Storage SCPs that take instances and keep nothing.

Run as ``python -m tests.bench.sink gateway`` or ``... pynetdicom``; it prints "listening PORT" and serves until it is
terminated.
"""

import asyncio
import socket
import sys

import uvloop
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from pynetdicom import AE, evt

from gateway.dimse.acceptor import Acceptor
from gateway.dimse.incoming import IncomingStore

MAX_PDU = 131_072  # for both


async def gateway_sink() -> None:
    async def store(incoming: IncomingStore) -> int:
        size = 0
        async for fragment in incoming:
            size += len(fragment)
        return 0

    acceptor = Acceptor(accept=lambda _: None, store=store)
    port = await acceptor.start("127.0.0.1", 0)
    print("listening", port, flush=True)
    await asyncio.Event().wait()


def pynetdicom_sink() -> None:
    """Serve in pynetdicom's fastest form: the encoded bytes are taken, nothing is decoded."""

    def store(event: evt.Event) -> int:
        event.request.DataSet.getvalue()
        return 0

    entity = AE(ae_title="SINK")
    entity.maximum_pdu_size = MAX_PDU
    entity.maximum_associations = 50
    entity.add_supported_context(CTImageStorage, ExplicitVRLittleEndian)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    print("listening", port, flush=True)
    entity.start_server(("127.0.0.1", port), evt_handlers=[(evt.EVT_C_STORE, store)])


if __name__ == "__main__":
    if sys.argv[1] == "gateway":
        uvloop.run(gateway_sink())
    else:
        pynetdicom_sink()
