"""Applications that send heartbeats: what they answer when they are asked."""
