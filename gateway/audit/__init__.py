"""Who did what: the audit log, its verification, its feeds and the reports made from it."""
