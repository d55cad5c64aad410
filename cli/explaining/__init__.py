"""`cox explain`: why this policy, what it cost, and what to make of it.

gather    from the bus and the catalogues to what was recorded
model     the answer's structure, also for `--json`
compose   from what was recorded to the answer; pure, with a module for each part:
            decision, tried, policies, spending, queue, places, trouble
draw      the answer as text in 80 columns
"""
