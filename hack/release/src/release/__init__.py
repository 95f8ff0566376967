"""What `make dist` makes: the files from which ModelRollout is installed."""
