"""What is measured beside the tap, each a program of its own; they import nothing of the tap."""
