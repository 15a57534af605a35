"""What the student is trained on: prompts, their order and encodings, and images with captions."""
