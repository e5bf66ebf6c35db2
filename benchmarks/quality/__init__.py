"""How good tags and summaries are, against plain prompts, another runtime and simple statistics."""
