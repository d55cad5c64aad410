"""A fleet under faults that are drawn from a seed, and what must hold whatever they are."""
