"""How often a profile gets the class that its workload's manifest states.

recorded  profiles of the catalogue's workloads, as tests/observer/record.py keeps them
ways      ways to classify: the rules, what lies nearest, one after the other
held      each workload classified by who has never seen it, and how sure that was
"""
