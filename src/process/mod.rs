//! `dataProcessingOptions`: bytes in, bytes out, one file an option, in the words of agent.json; all pure.

pub mod java_regex;
