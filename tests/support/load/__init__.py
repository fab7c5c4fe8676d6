"""Load generators: over REST and gRPC, through a load balancer, and with processes killed at random."""
