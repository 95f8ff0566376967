"""`make demo`: a better model is rolled out under load, then two bad ones are rolled back."""
