"""Nets written as files that load and agree, whatever their kind."""
