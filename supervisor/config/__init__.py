"""The configuration: what may be set, how it is written, and every mistake at once."""
