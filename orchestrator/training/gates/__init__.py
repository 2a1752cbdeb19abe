"""The gates of `orchestrate check`: small questions to a recipe, in order, before a study spends anything.

Each gate is a function of a `Bench` (a task under one config) that returns a `Verdict`; `ladder` runs them.
The results are plain data (`results`), which knows nothing of torch.
"""
