"""`cox policies`: what can be deployed, and what came of it."""
