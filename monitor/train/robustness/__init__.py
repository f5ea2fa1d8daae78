"""The robustness and bias suite: some thousand sentences that a sentiment model must read right, or alike.

In the style of CheckList (Ribeiro et al., "Beyond Accuracy: Behavioral Testing of NLP Models with CheckList", ACL
2020): minimum functionality tests, invariance tests and directional tests, by capability and language.
"""
