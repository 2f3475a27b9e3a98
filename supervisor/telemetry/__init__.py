"""What the daemon says of itself: its log, and traces of requests."""
