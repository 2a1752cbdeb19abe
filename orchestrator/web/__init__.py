"""The page of `orchestrate serve`. It runs the command for everything it does; it imports no ray, no torch."""
