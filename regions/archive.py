"""An embedded regional archive on pynetdicom: Verification, Query/Retrieve and Storage as SCP.

`python -m regions.archive --ae-title X --port 0 --folder DIR --destination AE=host:port` runs one and says where.
"""

import argparse
import json
import logging
import os
import shutil
import signal
import sys
import threading
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from socketserver import BaseServer
from typing import Any, Final, Self

from pydicom.errors import InvalidDicomError
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)
from pynetdicom import AE, AllStoragePresentationContexts, _config, evt
from pynetdicom.sop_class import Verification
from pynetdicom.transport import RequestHandler, ThreadedAssociationServer

from regions.guard import end_with_stdin
from regions.index import Entry, Index, read_entry
from regions.services import PATIENT_ROOT, PROMPT, STUDY_ROOT, QueryRetrieve

LOGGER = logging.getLogger(__name__)

_NATIVE: Final = (ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian)
TRANSFER_SYNTAXES: Final = (
    ExplicitVRLittleEndian, ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian, RLELossless, JPEGBaseline8Bit,
    JPEGLosslessSV1, JPEGLSLossless, JPEGLSNearLossless, JPEG2000Lossless, JPEG2000, HTJ2KLossless, HTJ2K,
    ExplicitVRBigEndian,
)  # fmt: skip
"""For Storage: of those that a Presentation Context proposes, the first in this order is accepted."""


class _Connection(RequestHandler):  # type: ignore[misc]
    """An accepted connection whose Query/Retrieve requests come to the archive's own services."""

    def _create_association(self) -> Any:
        association = super()._create_association()
        # pynetdicom's C-MOVE names itself, not the mover, as Move Originator (PS3.7 9.1.1.1.8), and its services
        # decode and encode anew every Data Set that they pass on.
        association._serve_request = self.server.services.serve(association, association._serve_request)  # noqa: SLF001
        return association


class _Server(ThreadedAssociationServer):  # type: ignore[misc]
    """The listening socket of one archive."""

    request_queue_size = 64
    daemon_threads = True

    def __init__(self, *arguments: Any, services: QueryRetrieve, **more: Any) -> None:
        self.services = services
        super().__init__(*arguments, request_handler=_Connection, **more)

    def shutdown(self) -> None:
        """Stop listening; pynetdicom's own method wants a server that its AE has started."""
        BaseServer.shutdown(self)
        self.server_close()


class _Contexts(list[Any]):
    """Presentation Contexts that all associations share.

    pynetdicom copies them for each association, which takes longer than to negotiate, and changes none of them.
    """

    def __deepcopy__(self, memo: object) -> Self:
        return self


class Archive:
    """One archive over a folder.

    Its index lies in the folder; files that others put there are indexed at the start, and what is stored goes
    into ``received`` below it under names of our own.
    """

    def __init__(
        self,
        ae_title: str,
        folder: Path,
        *,
        destinations: Mapping[str, tuple[str, int]] | None = None,
        drop_received: bool = False,
    ) -> None:
        """Open the folder.

        Args:
            ae_title: what it must be called by.
            folder: made if it is not there.
            destinations: the Move Destinations it knows, AE title to host and port; may grow while it runs.
            drop_received: begin and end without what was stored, in this run or in an earlier one.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.destinations = dict(destinations or {})
        self.index = Index(folder)
        self._drops_received = drop_received
        self._drop_received()
        self._take_in_strangers()
        self.ae = _application_entity(ae_title)
        self._server: Any = None

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self._server.server_address[1])

    def start(self, host: str = "127.0.0.1", port: int = 0) -> int:
        """Listen, and return the port.

        Raises:
            OSError: the address is taken.
        """
        services = QueryRetrieve(self.ae, self.folder, self.index, self.destinations)
        handlers = [(evt.EVT_C_STORE, self._store), *PROMPT]
        self._server = self.ae.make_server(
            (host, port),
            contexts=_Contexts(self.ae.supported_contexts),
            evt_handlers=handlers,
            server_class=_Server,
            services=services,
        )
        name = f"archive {self.ae.ae_title}"
        threading.Thread(target=self._server.serve_forever, args=(0.2,), name=name, daemon=True).start()
        return self.port

    def stop(self) -> None:
        """Stop listening, abort the associations that are open, close the index."""
        if self._server is not None:
            self._server.shutdown()
            for association in self.ae.active_associations:
                association.abort()
                association.join(5)
        self._drop_received()
        self.index.close()

    def __enter__(self) -> Self:
        if self._server is None:
            self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _drop_received(self) -> None:
        if self._drops_received:
            self.index.remove_below("received/")
            shutil.rmtree(self.folder / "received", ignore_errors=True)

    def _take_in_strangers(self) -> None:
        """Index files in the folder that have no entry yet."""
        known = self.index.paths()
        found: list[Entry] = []
        for file in sorted(self.folder.rglob("*.dcm")):
            path = str(file.relative_to(self.folder))
            if path not in known:
                try:
                    found.append(read_entry(self.folder, path))
                except (InvalidDicomError, ValueError, AttributeError) as error:
                    LOGGER.warning("%s is left out: %s", path, error)
        self.index.add(found)

    def _store(self, event: Any) -> int:
        """C-STORE (PS3.4 B.2): keep the file under a name of our own and index it."""
        (self.folder / "received").mkdir(exist_ok=True)
        path = f"received/{uuid.uuid4().hex}.dcm"
        arriving = f"{path}.part"
        (self.folder / arriving).write_bytes(event.encoded_dataset())
        try:
            entry = read_entry(self.folder, arriving)
        except Exception:
            # Whatever pydicom makes of a stranger's bytes, the answer is the same (PS3.4 Table B.2-1).
            LOGGER.exception("an instance cannot be read")
            (self.folder / arriving).unlink()
            return 0xC000
        if entry.sop_instance_uid != event.request.AffectedSOPInstanceUID:
            (self.folder / arriving).unlink()
            return 0xA900
        former = self.index.path_of(entry.sop_instance_uid)
        if former and self._drops_received and not former.startswith("received/"):
            (self.folder / arriving).unlink()  # what it began with is what it shall end with
            return 0x0000
        (self.folder / arriving).rename(self.folder / path)
        self.index.add([replace(entry, path=path)])
        if former and former.startswith("received/"):
            (self.folder / former).unlink(missing_ok=True)
        return 0x0000


def _application_entity(ae_title: str) -> AE:
    # Both are pynetdicom's switches for the whole process: the first costs a tenth of a transfer's time, the
    # second sends files byte by byte as they are.
    _config.LOG_HANDLER_LEVEL = "none"
    _config.STORE_SEND_CHUNKED_DATASET = True
    ae = AE(ae_title)
    ae.require_called_aet = True
    ae.maximum_associations = 25
    ae.maximum_pdu_size = 131_072
    ae.dimse_timeout = 300  # a mover whose own client reads slowly answers slowly
    ae.network_timeout = 120
    ae.add_supported_context(Verification, list(_NATIVE))
    for model in (*PATIENT_ROOT, *STUDY_ROOT):
        ae.add_supported_context(model, list(_NATIVE))
    for context in AllStoragePresentationContexts:
        ae.add_supported_context(context.abstract_syntax, list(TRANSFER_SYNTAXES), scu_role=True, scp_role=True)
    return ae


def destination(text: str) -> tuple[str, tuple[str, int]]:
    """Read AE=host:port.

    Raises:
        argparse.ArgumentTypeError: it is not of that form.
    """
    ae_title, _, address = text.partition("=")
    host, _, port = address.rpartition(":")
    if not (ae_title and host and port.isdigit()):
        raise argparse.ArgumentTypeError(f"{text}: write AE=host:port, such as GATEWAY=127.0.0.1:11112")
    return ae_title, (host, int(port))


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one archive until it is told to end."""
    parser = argparse.ArgumentParser(prog="python -m regions.archive", description="run an embedded DICOM archive")
    parser.add_argument("--ae-title", required=True)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 for any that is free")
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--destination", type=destination, action="append", default=[], help="AE=host:port, repeatable")
    parser.add_argument("--drop-received", action="store_true", help="forget what was stored, at the start and the end")
    parser.add_argument("--stdin-guard", action="store_true", help="end when standard input ends")
    options = parser.parse_args(arguments)
    logging.basicConfig(
        format=f"{options.ae_title} %(levelname)s %(message)s", level=logging.WARNING, stream=sys.stderr
    )
    over = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: over.set())
    if options.stdin_guard:
        end_with_stdin(over.set)
    archive = Archive(
        options.ae_title,
        options.folder,
        destinations=dict(options.destination),
        drop_received=options.drop_received,
    )
    try:
        archive.start(options.host, options.port)
    except OSError as error:
        sys.exit(f"{options.ae_title} cannot listen on {options.host}:{options.port}: {error.strerror}")
    studies, instances = archive.index.counts()
    ready = {"event": "listening", "ae_title": options.ae_title, "host": options.host, "port": archive.port}
    sys.stdout.write(json.dumps({**ready, "pid": os.getpid(), "studies": studies, "instances": instances}) + "\n")
    sys.stdout.flush()
    over.wait()
    # A peer that reads nothing can hold an association's threads for ever; it shall not hold the process.
    threading.Timer(3, os._exit, (0,)).start()
    archive.stop()
    os._exit(0)


if __name__ == "__main__":
    main()
