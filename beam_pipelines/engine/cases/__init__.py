"""Tests of a definition: rows in the place of its sources, and what is expected held against what comes."""
