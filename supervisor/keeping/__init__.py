"""What keeps models, and bytes, besides the configuration; and what is not done for a while."""
