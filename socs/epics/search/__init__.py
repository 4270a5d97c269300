"""Searching for names on the network: what is sent when, and what came of it."""
