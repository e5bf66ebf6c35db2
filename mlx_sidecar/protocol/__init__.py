"""What is said on the wire: lines out of bytes, requests as typed structs, lines back to bytes.

No I/O happens here, and nothing in here knows about models.
"""
