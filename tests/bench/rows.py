"""A region of nothing but study rows: it answers each C-FIND at once, and tells of each that it has.

Run as ``python -m tests.bench.rows FIRST COUNT SECONDS``. It holds the studies FIRST to FIRST + COUNT - 1, answers
after SECONDS, prints "listening PORT", and for each C-FIND its Patient ID, which may be empty.
"""

import socket
import struct
import sys
import threading
import time
from io import BytesIO

from pydicom import Dataset

from tests.bench import samples
from tests.bench.region import data_pdu, decode, response
from tests.bench.upper_layer import C_ECHO_RQ, C_FIND_RQ, PENDING, Association, accept, encode_command

ROOT = f"{samples.ROOT}.5"


def row(number: int) -> bytes:
    """Encode what PS3.18 Table 10.6.3-3 wants of a study, in Explicit VR Little Endian."""
    made = Dataset()
    made.SpecificCharacterSet = "ISO_IR 100"
    made.QueryRetrieveLevel = "STUDY"
    made.StudyDate, made.StudyTime = f"2024{1 + number % 12:02d}{1 + number % 28:02d}", f"{number % 24:02d}1530"
    made.AccessionNumber, made.StudyID = f"A{number:07d}", str(number)
    made.ModalitiesInStudy = ["CT", "SR"]
    made.ReferringPhysicianName = "GAGNÉ^LOUISE"
    made.PatientName = f"{samples.FAMILY_NAMES[number % 8]}^{samples.GIVEN_NAMES[number // 8 % 8]}"
    made.PatientID, made.PatientBirthDate, made.PatientSex = f"P{number:07d}", "19500101", "F"
    made.StudyInstanceUID = f"{ROOT}.{100_000 + number}"
    made.NumberOfStudyRelatedSeries, made.NumberOfStudyRelatedInstances = 3, 150
    file = BytesIO()
    made.save_as(file, implicit_vr=False, little_endian=True, enforce_file_format=False)
    return file.getvalue()


def series(study: str) -> bytes:
    """Encode the one series that each study has."""
    made = Dataset()
    made.QueryRetrieveLevel = "SERIES"
    made.Modality, made.SeriesNumber, made.NumberOfSeriesRelatedInstances = "CT", 1, 150
    made.StudyInstanceUID, made.SeriesInstanceUID = study, f"{study}.1"
    file = BytesIO()
    made.save_as(file, implicit_vr=False, little_endian=True, enforce_file_format=False)
    return file.getvalue()


class Rows:
    """Serves C-ECHO and C-FIND; one thread per association."""

    def __init__(self, first: int, count: int, seconds: float) -> None:
        self._seconds = seconds
        self._rows = {f"{ROOT}.{100_000 + number}": row(number) for number in range(first, first + count)}

    def serve(self) -> None:
        with socket.create_server(("127.0.0.1", 0), backlog=128) as server:
            print("listening", server.getsockname()[1], flush=True)
            while True:
                connection, _ = server.accept()
                threading.Thread(target=self._association, args=(connection,), daemon=True).start()

    def _association(self, connection: socket.socket) -> None:
        with connection:
            try:
                association = accept(connection)
                while True:
                    context, command, data = association.read_message()
                    if command[0x0100] == C_FIND_RQ:
                        self._find(association, context, command, data)
                    if command[0x0100] in {C_FIND_RQ, C_ECHO_RQ}:
                        association.send_message(context, response(command, 0))
            except (ConnectionError, TimeoutError):
                return  # released, aborted or gone: either way there is nobody to answer

    def _find(self, association: Association, context: int, command: dict[int, str | int], data: bytes) -> None:
        asked = decode(data, association.contexts[context][1])
        print(asked.get("PatientID") or "", flush=True)
        time.sleep(self._seconds)
        uid = str(asked.get("StudyInstanceUID") or "")
        found = [self._rows[uid]] if uid in self._rows else [] if uid else list(self._rows.values())
        if asked.QueryRetrieveLevel != "STUDY":
            found = [series(uid)] if found else []
        pending = encode_command({**response(command, PENDING), 0x0800: 0x0001})
        head = struct.pack(">BxIIBB", 4, len(pending) + 6, len(pending) + 2, context, 3) + pending
        for start in range(0, len(found), 100):
            pieces: list[bytes | memoryview] = []
            for one in found[start : start + 100]:
                pieces += [head, *data_pdu(context, one, last=True)]
            association.send(pieces)


if __name__ == "__main__":
    Rows(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])).serve()
