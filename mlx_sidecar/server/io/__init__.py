"""Threads that wait for something outside and put it into the event queue, and where output goes."""
