"""State machines in Amazon States Language, as far as MapRun runs them itself: the seed of the interpreter.

`document` parses a definition, `flow` moves data through a state, `passing` and `ending` are the states without work,
`mapping` makes a run out of a Map state, `machine` goes from state to state.
"""
