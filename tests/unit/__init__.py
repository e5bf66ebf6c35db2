"""The parts by themselves: laws of text and bytes, and tasks without an engine."""
