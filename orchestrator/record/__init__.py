"""What is kept of a study: paths, storage, journal, checkpoints, metric tables, provenance, the lease."""
