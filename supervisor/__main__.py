"""`python -m supervisor` is `ullage`."""

from .cli import main

main()
