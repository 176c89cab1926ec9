"""The daemon: the only room that wires the others together."""
