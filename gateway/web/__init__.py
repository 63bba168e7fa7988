"""The DICOMweb origin server (PS3.18): HTTP on one side, the federation on the other."""
