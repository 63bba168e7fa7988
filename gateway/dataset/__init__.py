"""PS3.5, PS3.6, PS3.10 and PS3.18 Annex F without I/O: bytes in, values out."""
