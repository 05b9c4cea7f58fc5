"""LRSL for those who have a classifier already."""
