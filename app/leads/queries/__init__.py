"""What can be asked about leads. Who may see what is part of every query, never a filter afterwards."""
