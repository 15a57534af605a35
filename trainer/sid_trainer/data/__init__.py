"""What the student is trained on: prompts, their order, and their encodings."""
