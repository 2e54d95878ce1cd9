//! agent.json as people write it.
