"""What is asked: servers, proxies, replicas and whole patterns, started, read and ended."""
