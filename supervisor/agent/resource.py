"""What the ledger of a host is called in Ray. Apart, so that nobody has to load Ray for it."""


def resource(host: str) -> str:
    """Ray's resource that a host's promises are taken from, in MiB."""
    return f"ullage_mib:{host}"
