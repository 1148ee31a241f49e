"""Hashes of files that others vouch for."""
