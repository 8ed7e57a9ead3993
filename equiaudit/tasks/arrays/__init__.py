"""What the tasks share whose records are small arrays: embeddings, regression, heat maps."""
