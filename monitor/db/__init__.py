"""What the embedded bus, store and state store share: the data folder and its lock, one SQLite file with its writer
and readers, schema versions, the mapping of SQLite's errors, and the health check."""
