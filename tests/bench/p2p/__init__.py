"""The swarm on measured links: real processes, mutual TLS, namespaces. `python -m tests.bench.p2p`"""
