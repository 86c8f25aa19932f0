"""DeepLPF in PyTorch, `release` dialect: the peer that deeplpf is measured against.

Written from the project's formulas as whole-tensor operations, the way a PyTorch user would: masks of
all instances and channels in one tensor, library operations wherever there is one.
"""
