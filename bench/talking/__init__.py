"""Conversations with a model, kept and played back: `cox bench minds --record`, `--replay`.

conversation   the file: a question, what the gate said to hooks, every request and its answer; pure
tape           servers on loopback: one that listens in, one that plays back
asking         the LLM mind on such a server, with the real SDK
"""
