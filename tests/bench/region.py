"""A region that makes its instances while it sends them, as large and as slow as wished, and tells when.

Run as ``python -m tests.bench.region GATEWAY_DIMSE_PORT``. It prints "listening PORT", and "sending NANOSECONDS" on the
monotonic clock, which all processes share, right before the first C-STORE of each C-MOVE.
"""

import socket
import struct
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from io import BytesIO

from pydicom import Dataset, dcmread
from pydicom.uid import CTImageStorage, EnhancedCTImageStorage

from tests.bench import samples
from tests.bench.upper_layer import (
    C_ECHO_RQ,
    C_FIND_RQ,
    C_MOVE_RQ,
    EXPLICIT_VR_LE,
    IMPLICIT_VR_LE,
    PENDING,
    RESPONSE,
    Association,
    Command,
    accept,
    connect,
    encode_command,
)

AE_TITLE = "BENCH"
FIRST_NUMBER = 10_001
BLOCK = bytes(range(256)) * 4096
PACED_STUDY = f"{samples.ROOT}.3"
BULK_STUDY = f"{samples.ROOT}.4"
LONG_STUDY = f"{samples.ROOT}.6"
HUGE_STUDY = f"{samples.ROOT}.7"


@dataclass(frozen=True)
class Made:
    """An instance that exists only while it is sent."""

    sop_class_uid: str
    sop_instance_uid: str
    study: str
    size: int
    number: int

    @property
    def series(self) -> str:
        return f"{self.study}.1"

    @property
    def frames(self) -> int:
        return self.size // 524_288

    def head(self) -> bytes:
        """Return the Data Set up to the value of Pixel Data, in Explicit VR Little Endian."""
        template = head_template(self.sop_class_uid, self.study, self.size)
        return template.replace(f"{self.series}.{FIRST_NUMBER}".encode(), self.sop_instance_uid.encode())


@cache
def head_template(sop_class_uid: str, study: str, size: int) -> bytes:
    """Encode the head of an instance once; the others differ in the SOP Instance UID, which always has one length."""
    header = samples.patient_and_study(1, study)
    samples.add_acquisition(header)
    samples.add_image(header, f"{study}.1", FIRST_NUMBER, 512)
    header.SOPClassUID = sop_class_uid
    if sop_class_uid == EnhancedCTImageStorage:
        header.NumberOfFrames = size // 524_288
    return samples.data_set(header) + struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OW", 0, size)


def made(study: str, sizes: Sequence[int]) -> list[Made]:
    return [
        Made(CTImageStorage if size < 1_000_000 else EnhancedCTImageStorage, f"{study}.1.{n}", study, size, n)
        for n, size in enumerate(sizes, FIRST_NUMBER)
    ]


STUDIES = {
    PACED_STUDY: made(PACED_STUDY, [524_288]),
    # 2 GB: what is large as one instance, and what is large as many
    BULK_STUDY: made(BULK_STUDY, [419_430_400] * 3 + [524_288] * 1_500),
    LONG_STUDY: made(LONG_STUDY, [524_288] * 600),
    HUGE_STUDY: made(HUGE_STUDY, [524_288] * 20_000),
}


def level_row(instance: Made, level: str) -> Dataset:
    """Return what a C-FIND answers for the level of the entity (PS3.4 C.6.2)."""
    count = len(STUDIES[instance.study])
    row = Dataset()
    row.QueryRetrieveLevel = level
    row.StudyInstanceUID = instance.study
    if level == "STUDY":
        row.SpecificCharacterSet = "ISO_IR 100"
        row.PatientName, row.PatientID = "BENCH^LARGE", "NEO1"
        row.StudyDate, row.StudyTime, row.AccessionNumber = "20240102", "101112", "A1"
        row.PatientBirthDate, row.PatientSex, row.ReferringPhysicianName, row.StudyID = "19500101", "F", "", "1"
        row.ModalitiesInStudy = "CT"
        row.NumberOfStudyRelatedSeries, row.NumberOfStudyRelatedInstances = 1, count
        return row
    row.SeriesInstanceUID = instance.series
    if level == "SERIES":
        row.Modality, row.SeriesNumber, row.NumberOfSeriesRelatedInstances = "CT", 1, count
        return row
    row.SOPClassUID, row.SOPInstanceUID = instance.sop_class_uid, instance.sop_instance_uid
    row.InstanceNumber, row.NumberOfFrames = instance.number, instance.frames
    return row


def selected(identifier: Dataset) -> list[Made]:
    """Return the instances that the Identifier's unique keys name."""
    wanted = {
        keyword: set(str(identifier[keyword].value).strip("[]").replace("'", "").replace(" ", "").split(","))
        for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
        if identifier.get(keyword)
    }
    return [
        instance
        for study in STUDIES.values()
        for instance in study
        if instance.study in wanted.get("StudyInstanceUID", {instance.study})
        and instance.series in wanted.get("SeriesInstanceUID", {instance.series})
        and instance.sop_instance_uid in wanted.get("SOPInstanceUID", {instance.sop_instance_uid})
    ]


def decode(identifier: bytes, transfer_syntax: str) -> Dataset:
    syntax = transfer_syntax.encode() + b"\0" * (len(transfer_syntax) % 2)
    meta = struct.pack("<HH2sH", 2, 0x10, b"UI", len(syntax)) + syntax
    return dcmread(BytesIO(b"\0" * 128 + b"DICM" + meta + identifier), force=True)


def encode(row: Dataset, transfer_syntax: str) -> bytes:
    file = BytesIO()
    row.save_as(file, implicit_vr=transfer_syntax == IMPLICIT_VR_LE, little_endian=True, enforce_file_format=False)
    return file.getvalue()


class Region:
    """Serves C-ECHO, C-FIND and C-MOVE; one thread per association."""

    def __init__(self, gateway_port: int) -> None:
        self._gateway_port = gateway_port

    def serve(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            print("listening", server.getsockname()[1], flush=True)
            while True:
                connection, _ = server.accept()
                threading.Thread(target=self._association, args=(connection,), daemon=True).start()

    def _association(self, connection: socket.socket) -> None:
        with connection:
            try:
                association = accept(connection)
                while True:
                    self._answer(association, *association.read_message())
            except (ConnectionError, TimeoutError):
                return  # released, aborted or gone: either way there is nobody to answer

    def _answer(self, association: Association, context: int, command: Command, data: bytes) -> None:
        _, transfer_syntax = association.contexts[context]
        kind = command[0x0100]
        if kind == C_ECHO_RQ:
            association.send_message(context, response(command, 0))
        elif kind == C_FIND_RQ:
            identifier = decode(data, transfer_syntax)
            level = str(identifier.QueryRetrieveLevel)
            chosen = selected(identifier)
            # one row per entity of the level: all studies here have one series
            for instance in chosen if level == "IMAGE" else {i.study: i for i in chosen}.values():
                row = encode(level_row(instance, level), transfer_syntax)
                association.send_message(context, response(command, PENDING), row)
            association.send_message(context, response(command, 0))
        elif kind == C_MOVE_RQ:
            self._move(association, context, command, selected(decode(data, transfer_syntax)))

    def _move(self, association: Association, context: int, command: Command, chosen: list[Made]) -> None:
        classes = sorted({instance.sop_class_uid for instance in chosen})
        onward = connect(self._gateway_port, str(command[0x0600]), AE_TITLE, classes, transfer_syntax=EXPLICIT_VR_LE)
        originator: Command = {0x1030: association.calling_ae_title, 0x1031: command[0x0110]}
        print("sending", time.monotonic_ns(), flush=True)
        done = failed = 0
        for instance in chosen:
            status = send(onward, instance, originator, pause=0.01 if instance.study == PACED_STUDY else 0)
            done, failed = done + (status == 0), failed + (status != 0)
            counters: Command = {0x1020: len(chosen) - done - failed, 0x1021: done, 0x1022: failed, 0x1023: 0}
            association.send_message(context, {**response(command, PENDING), **counters})
        onward.release()
        association.send_message(
            context, {**response(command, 0xB000 if failed else 0), 0x1021: done, 0x1022: failed, 0x1023: 0}
        )


def response(command: Command, status: int) -> Command:
    return {
        0x0002: command[0x0002],
        0x0100: int(command[0x0100]) | RESPONSE,
        0x0120: command[0x0110],
        0x0900: status,
    }


def send(onward: Association, instance: Made, originator: Command, pause: float) -> int:
    """Send one C-STORE, a fragment at a time when there is a pause between them."""
    context = onward.context_for(instance.sop_class_uid)
    request = onward.store_command(instance.sop_class_uid, instance.sop_instance_uid, originator)
    step = 32_768 if pause else onward.max_pdu - 6
    queue = [*onward.fragments(context, 1, encode_command({**request, 0x0800: 0x0001}))]
    head, block, left = instance.head(), memoryview(BLOCK), instance.size
    queue += data_pdu(context, head, last=False)
    while left:
        for start in range(0, min(left, len(block)), step):
            fragment = block[start : start + step][:left]
            left -= len(fragment)
            queue += data_pdu(context, fragment, last=not left)
            if pause:
                onward.send(queue)
                time.sleep(pause)
        onward.send(queue)
    return int(onward.read_message()[1][0x0900])


def data_pdu(context: int, fragment: bytes | memoryview, *, last: bool) -> list[bytes | memoryview]:
    return [struct.pack(">BxIIBB", 4, len(fragment) + 6, len(fragment) + 2, context, 2 if last else 0), fragment]


if __name__ == "__main__":
    Region(int(sys.argv[1])).serve()
