"""The door for Python: `Study` runs one, `open_study` reads one. The command line stands on them too."""
