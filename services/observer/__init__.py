"""Observer: sees one host, runs and measures workloads; unprivileged."""
