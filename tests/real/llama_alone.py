"""llama.cpp's library with its own small server, as Python programs embed it.

    python llama_alone.py MODEL    prints where it listens, and serves until it is ended

Runs in the environment of that library, which is not the one of the tests.
"""

import signal
import sys

import xllamacpp

params = xllamacpp.CommonParams()
params.model.path = sys.argv[1]
params.n_ctx = 4096
params.n_parallel = 2
params.port = 0
params.cpuparams.n_threads = 1
params.endpoint_slots = True
server = xllamacpp.Server(params)
print(f"\nserving at {server.listening_address} now", flush=True)  # its log has other lines
signal.sigwait({signal.SIGTERM})
