"""What stands between a wire format and the core: framing, the order of answers, the rate of progress lines."""
