"""The whole fleet on one page: hosts, what runs where, trials that live, budgets used."""
