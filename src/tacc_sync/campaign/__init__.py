"""The campaign simulator: the real components under a simulated clock, with drives, a network and outages."""
