"""Predictors: what turns items into labelled, explained predictions. One folder for each kind."""
