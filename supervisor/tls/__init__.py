"""Certificates by files, and listeners that speak TLS with them."""
