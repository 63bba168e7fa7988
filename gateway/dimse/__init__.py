"""DIMSE over asyncio: the only owner of DICOM sockets."""
