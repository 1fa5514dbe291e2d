"""Machinery that knows no business: any service may use it, it may use none."""
