"""The recipe under study: data, then model, then training."""
