"""The method on tensors: SiD-DiT's equations, and nothing of storage, ranks or DeepSpeed.

Nothing is imported here: guidance scales are read by programs without torch.
"""
