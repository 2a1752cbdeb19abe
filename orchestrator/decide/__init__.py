"""When to start, continue, stop and retry: pure functions over plain data (no clock, no Ray, no torch)."""
