"""What the operator makes in a cluster: candidate copies, the shadow, standby pods, validation Jobs."""
