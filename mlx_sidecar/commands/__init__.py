"""One handler per command: the only place that turns a request into a task."""
