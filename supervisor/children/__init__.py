"""Processes of our own that hold models: started, kept, adopted, ended to the last descendant."""
