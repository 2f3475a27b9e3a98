"""`python -m supervisor` is `ullage`."""

from .cli.main import main

main()
