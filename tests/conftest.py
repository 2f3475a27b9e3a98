"""How hard the property tests try: `make check` a little, `make test` a lot. Never at random."""

import os

from hypothesis import settings

settings.register_profile("fast", max_examples=80, deadline=None, derandomize=True)
settings.register_profile("thorough", max_examples=500, deadline=None, derandomize=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fast"))
