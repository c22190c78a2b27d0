"""The two journeys through the house: rasters into an index, and a query out of it to places."""
