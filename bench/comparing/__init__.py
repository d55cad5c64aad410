"""Minds against each other on the same measured rounds: what `bench/compare.py` is made of.

life       an optimization from its question to its end: the planner's own machine, walls and judge
hosts      whom a life asks to observe, build and try; made-up hosts for tests
rounds     the ledger: what was measured once is known to every mind that asks for it
lab        a real host: gate, executor and observer of a lab guest, through the ledger
baselines  what minds are measured by: a sweep of what ships, candidates drawn by lot, a bandit
minds      the minds by name, a model live or played back
entries    what came of each mind on each workload, and what that says; pure
tables     that as Markdown
"""
