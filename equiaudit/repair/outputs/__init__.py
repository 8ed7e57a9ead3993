"""All that a model returns: run at once, watched under shifts, and what each output is."""
