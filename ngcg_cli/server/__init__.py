"""`ngcg serve`: the page of hits, alive, and the same answers as JSON."""
