"""Figures of the paper with numbers and images of our own."""
