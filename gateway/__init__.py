"""A provincial DICOMweb gateway: many DIMSE regions, one origin server."""
