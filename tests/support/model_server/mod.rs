//! The tests' model API: answers a real agent by the last user message, deterministically, without a model.
//!
//! The verbs, at the start of a user message:
//! - `say X`: reply X; `think X`: a thinking block first, then X; anything else is echoed
//! - `run CMD`, `ask CMD`: call the agent's shell tool; after its result reply `DONE` and the output
//! - `write PATH TEXT`: call the agent's file-writing tool
//! - `slow N`: the chunks `chunk 1 ` to `chunk N `, one each delay
//! - `hang N`: headers, then nothing for N seconds, then `late`
//! - `error CODE MESSAGE`: that HTTP status
//! - `model?`, `count?`: the model asked for; the number of user turns in the request
//!
//! What was asked goes to the log, one JSON line a request, and one more when its answer ended.

mod anthropic;
mod ask;
mod http;
mod plan;
mod server;

pub(crate) use server::serve;
