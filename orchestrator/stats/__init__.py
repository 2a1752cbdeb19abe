"""Effects, intervals and levels. Numpy and scipy only; result types that know nothing about how they look."""
