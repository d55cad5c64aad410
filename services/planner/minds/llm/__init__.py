"""The mind that asks a language model.

mind       the conversation: from a question to a plan, or to an error that says why not
tools      what the model may ask, and how it proposes
data       text of strangers on its way to the model
model      the model itself, behind the Messages API
meter      what its answers cost, and the budget
"""
