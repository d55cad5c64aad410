"""An optimization as it is lived: its events, what they add up to, and how that looks."""
