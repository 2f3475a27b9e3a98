"""The engines that Ullage can talk to: one line each."""

from .base import Engine
from .llamacpp import LlamaCpp
from .ollama import Ollama

# Who answers is asked in this order; whoever imitates others comes before them.
ENGINES: dict[str, type[Engine]] = {
    "llamacpp": LlamaCpp,
    "ollama": Ollama,
}
