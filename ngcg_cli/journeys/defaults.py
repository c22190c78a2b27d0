"""What `ngcg index` does when it is not told otherwise; nothing is imported for it."""

TILE = "auto"
OVERLAP = 0.25
MIN_VALID = 0.25
# Split over a CPU's threads, which are the faster the more they have of it; more takes memory.
BATCH = 32
# A commit takes some hundredths of a second, so that either bound costs little.
BLOCK_TILES = 1024
BLOCK_SECONDS = 10.0
