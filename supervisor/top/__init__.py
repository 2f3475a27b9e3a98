"""`ullage top`: the machine on a whole terminal, as it is now, and keys to change it.

Imports nothing: Textual is loaded by who runs it.
"""
