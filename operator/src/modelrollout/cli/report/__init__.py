"""`kubectl modelrollout report`: one page that says what happened in a run."""
