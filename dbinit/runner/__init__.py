"""Runs the migrations of a folder."""
