"""The command `clarion`: run everything locally, make tokens, publish, watch events, measure."""
