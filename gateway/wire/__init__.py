"""PS3.7 and PS3.8 without I/O: bytes in, events out."""
