"""What services may know of each other: the shape of events and of problems, nothing that runs."""
