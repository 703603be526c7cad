"""Metrics of scores, with intervals by resampling."""
