"""Thousands of documents through one batch, into a file of results from which a job goes on. Knows no terminal."""
