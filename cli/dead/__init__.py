"""Dead letters: messages that nobody could handle, kept in the stream DEAD."""
