"""Everything that makes the embedded demonstration model: data, tokenizer, training, export and figures."""
