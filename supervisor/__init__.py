"""Keeps the engines of one machine within the memory it really has."""

__version__ = "0.1.0"
