"""Settings: from flags, the environment and the configuration file."""
