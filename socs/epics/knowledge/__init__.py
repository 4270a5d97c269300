"""What is known from the summaries of gateways."""
