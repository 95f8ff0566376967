"""`kubectl modelrollout`: look at rollouts, steer them, check and replay their manifests, report on them."""
