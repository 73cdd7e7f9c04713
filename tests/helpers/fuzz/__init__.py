"""Mutated input for every tool: each case must succeed or end with one clear line, and nothing in it may run."""
