"""One address for every client and every engine: requests are looked at, held, and relayed."""
