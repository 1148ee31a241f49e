"""The tape archive at NERSC, reached with hsi."""
