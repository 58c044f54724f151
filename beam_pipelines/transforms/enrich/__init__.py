"""Rows with what another source or an HTTP API knows of them."""

from __future__ import annotations
