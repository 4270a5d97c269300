"""The PV monitor: what it takes, keeps, answers and tells."""
