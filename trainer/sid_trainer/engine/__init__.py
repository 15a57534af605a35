"""The three networks under ZeRO-3, and one iteration on them.

Nothing is imported here: DeepSpeed's settings are computed by programs without torch.
"""
