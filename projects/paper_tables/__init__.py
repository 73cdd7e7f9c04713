"""Tables of the paper with numbers of our own beside its numbers."""
