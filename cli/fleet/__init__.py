"""What `cox up` runs on this machine: the bus, the services, lab hosts if asked for."""
