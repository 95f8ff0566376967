"""A kind of predictor that the server has never heard of: is a whole number even or odd?

`python -m tests.support.toy ARGUMENTS` is `inference-server ARGUMENTS` with its row in the table.
"""
