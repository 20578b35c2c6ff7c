"""Adapters for the layers and neurons of other frameworks, each imported only if its framework is installed."""
