"""The fault bench: `make faults`, which is `python -m tests.faults`.

A daemon of its own process on the stand-in driver, engines made of values behind real sockets, and
clients of the gateway. Something breaks; what must hold all the while is checked by a book of the
bench's own, from what the engines were told, what is on disk and what the clients were answered.
"""
