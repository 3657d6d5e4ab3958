"""The network: architectures as data, layers, the forward pass, columns."""
