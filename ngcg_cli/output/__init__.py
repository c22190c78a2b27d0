"""What the user sees: hits and metrics as table, jsonl, csv or geojson; messages on stderr."""
