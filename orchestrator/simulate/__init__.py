"""The same decisions and statistics on generated or recorded curves: what a rule costs, how often it errs."""
