"""Live use of the duplex model: one 160 ms user unit in, one agent unit out; all state is explicit."""
