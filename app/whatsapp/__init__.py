"""Conversations on WhatsApp: flows, the people who talk, and every message in and out."""
