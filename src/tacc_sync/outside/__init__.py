"""The neighbours: one package each, its contract in interface.py."""
