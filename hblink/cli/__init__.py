"""The command line, one file a command family; each imports only what its command needs."""
