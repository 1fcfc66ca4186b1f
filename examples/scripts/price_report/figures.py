"""Figures about prices."""

from statistics import median


def summary(prices):
    """How many, the lowest, and the one in the middle."""
    return {"count": len(prices), "lowest": min(prices), "median": round(median(prices))}
