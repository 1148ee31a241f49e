"""The operator's ssh key, by `ssh-keygen`."""
