"""The soak, `make load`: one daemon, twenty engines, two hundred models, eight GPUs, a thousand
streams at once, and everything else that people, engines and alerts do meanwhile.

What is measured is the daemon, from outside and from inside; who loads it is one process beside it.
"""
