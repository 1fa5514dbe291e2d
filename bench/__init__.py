"""Benchmarks: each prints its number, a floor measured in the same run, and the ratio between them.

Machines differ and are shared; a ratio to a floor that suffers from the same noise can be compared, a number alone
cannot. ``make bench`` runs all of them and fails when a target is missed.
"""
