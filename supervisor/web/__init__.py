"""Shows what is known and forwards what is asked: the HTTP API, the metrics, one plain page."""
