"""Luma Dream Machine video generation for Apache Airflow, through the Appy Pie gateway."""

from __future__ import annotations

__version__ = "0.1.0"
