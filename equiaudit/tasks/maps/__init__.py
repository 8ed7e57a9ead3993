"""What tasks share whose outputs are maps, which move with the image."""
