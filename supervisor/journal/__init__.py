"""What is remembered, in a file that nobody waits for."""
