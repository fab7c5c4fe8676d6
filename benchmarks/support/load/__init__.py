"""What asks: the questions, and the loads: wrk, gRPC, at a steady rate, mixed."""
