"""Which schemas of the world are taken, and whether an answer can break one that was."""
