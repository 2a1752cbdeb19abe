"""The page of `orchestrate serve`: what it does, the command does. Imports no ray and no torch."""
