"""An open-loop load generator: constant rate whatever the server does, every lost request counted."""
