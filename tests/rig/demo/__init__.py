"""The demo: a pair of the rig plays a failover for a viewer, and the demo fails if any of it did not happen.

`story` says what happens and what must be true, `stage` shows it, `gauge` reads the pair, `picture` draws the reading.
"""
