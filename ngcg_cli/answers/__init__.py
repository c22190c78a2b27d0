"""What is done with hits after the search: how sure they are, and where exactly."""
