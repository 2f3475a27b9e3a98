"""The agent of a host, beside the daemon: brings it into a fleet, and answers for all of it."""
