"""Planner: decides what to try; owns every optimization's state machine."""
