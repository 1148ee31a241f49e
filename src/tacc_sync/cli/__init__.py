"""The command line: builds the edges and hands them in; decides nothing."""
