"""What is said about EPICS process variables on a network: who asks, who serves, what changed."""
