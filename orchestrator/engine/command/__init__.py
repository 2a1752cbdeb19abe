"""A command as a trial: its process, and the metrics that it writes. No Ray, no torch."""
