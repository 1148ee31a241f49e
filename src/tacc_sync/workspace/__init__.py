"""The workspace: directory queues that several hosts share; the only code that renames a document."""
