"""What runs on a host: keeper, agent, and the tool that talks to the keeper."""
