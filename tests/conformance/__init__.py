"""A conformance suite for any worker that speaks the protocol: transcripts as data, and what plays them.

Standard library only, and nothing from outside this folder: copy it and run `python -m conformance`.
"""
