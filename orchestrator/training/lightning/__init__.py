"""LightningModules as trials: Lightning's own Trainer, with reports, checkpoints and curves of the study.

`arguments` knows no torch; the other modules import `lightning`, which comes with the extra [lightning].
"""
