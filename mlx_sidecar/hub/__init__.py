"""Everything about the Hugging Face Hub and its cache on this machine."""
