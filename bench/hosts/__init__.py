"""Light hosts for `bench/fleet.py`: the real host services over a machine that is made up."""
