"""Predictors: what turns texts into labelled, explained predictions."""
