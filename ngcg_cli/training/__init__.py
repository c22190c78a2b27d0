"""Training: pairs, sampler, loss, gradient cache, and the loop that joins them."""
