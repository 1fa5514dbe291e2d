"""What the whatsapp service can be told to do; each runs inside the transaction that its door has opened."""
