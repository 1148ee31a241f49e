"""The five components of tacc-sync, each as the operator's document tells it."""
