"""More than one host: who is there, where a model is to be, what was promised."""
