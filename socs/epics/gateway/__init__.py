"""What a gateway does: hears a network, adds up what it hears, and asks it for monitors."""
