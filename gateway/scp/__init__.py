"""The DIMSE face: what PACS and workstations ask of the province as one Application Entity (PS3.4)."""
