"""Texts that nobody vouches for → values: pure, and linear in the length of the text."""
