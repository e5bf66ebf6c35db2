"""Speed, as ratios measured in one run. `python -m benchmarks` prints the table; see README.md here."""
