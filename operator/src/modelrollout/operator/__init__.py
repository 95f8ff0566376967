"""The operator's process: when it looks at a rollout, and what it does then."""
