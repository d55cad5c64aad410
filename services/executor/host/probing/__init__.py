"""Probes in the kernel, on the observer's request: by bcc, one at a time, and gone afterwards.

known    which there are, what each attaches to, and what its figures mean
scope    the control group that is asked for, as the kernel knows it
child    runs in a process of its own: compiles, attaches, counts
process  that process, its deadlines and its end
reading  turns raw figures into a reading
probes   one at a time; what is asked on the bus
"""
