"""Torch graphs of aten operators: recorded, put in one normal form, read and made portable."""
