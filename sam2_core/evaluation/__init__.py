"""Scores of trackers: how well masks overlap the truth, and whether hidden objects are called hidden."""
