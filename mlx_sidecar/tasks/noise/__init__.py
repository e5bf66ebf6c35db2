"""What of a document says nothing and drowns the rest: one module for each kind, each with a rule that finds it."""
