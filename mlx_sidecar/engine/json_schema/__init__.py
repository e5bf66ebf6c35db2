"""JSON Schemas: what of them a grammar can hold an answer to, and in which form llguidance takes it."""
