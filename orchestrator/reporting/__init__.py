"""What a study found, computed once and drawn in several forms (terminal, Markdown, effects.json)."""
