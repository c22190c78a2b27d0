"""What `tiny` is measured by."""
