"""What is so, and what to do next: pure decisions, no input, no output."""
