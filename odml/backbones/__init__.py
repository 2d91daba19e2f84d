"""Feature extractors, compatible with slim: a variable's path in the network is slim's name for it."""
