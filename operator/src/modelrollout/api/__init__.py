"""The resource ModelRollout: its models, rules, words and constants. Imports nothing else of the operator."""
