"""Whether a run goes on: heartbeats of its ranks, and the judgement which of them hangs."""
