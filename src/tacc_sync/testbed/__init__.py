"""A stand-in for both sites, shipped: an hsi over simulated tapes, and a Globus service."""
