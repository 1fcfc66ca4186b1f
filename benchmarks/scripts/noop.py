"""Nothing, and an empty result."""

print("{}")
