"""What `ngcg index` does when it is not told otherwise; nothing is imported for it."""

TILE = "224px"
OVERLAP = 0.25
MIN_VALID = 0.25
# On a CPU small batches are the fastest, and the readers fill them sooner.
BATCH = 8
# A commit takes some hundredths of a second, so that either bound costs little.
BLOCK_TILES = 1024
BLOCK_SECONDS = 10.0
