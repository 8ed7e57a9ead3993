"""Checks that put a promise to the test: shifted images, exact comparison, a control."""
