"""Instance bytes at rest: a cache with a time to live, never an archive."""
