"""What the whatsapp service can tell; nothing here writes."""
