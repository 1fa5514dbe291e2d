"""Tells other systems what happened here: signed, retried for days, logged, replayable."""
