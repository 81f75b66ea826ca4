//! The tests' model API: answers a real agent by the last user message, deterministically, without a model. It speaks
//! Anthropic's Messages and OpenAI's Responses and chat completions, each streamed and whole, with one plan for all.
//!
//! The verbs, at the start of a user message:
//! - `say X`: reply X; `think X`: a thinking block first, then X; anything else is echoed
//! - `run CMD`: call the agent's shell tool; after its result reply `DONE` and the output; `ask CMD`: the same, and where a
//!   tool can be told to ask for a permission, it is
//! - `write PATH TEXT`: call the agent's file-writing tool
//! - `slow N`: the chunks `chunk 1 ` to `chunk N `, one each delay
//! - `hang N`: headers, then nothing for N seconds, then `late`
//! - `error CODE MESSAGE`: that HTTP status
//! - `big N`: N bytes of text; `length X`: how many bytes the whole message has
//! - `model?`, `count?`: the model asked for; the number of user turns in the request
//!
//! A request for a title, which some agents make beside the turn, gets a title. What was asked goes to the log, one JSON
//! line a request, and one more when its answer ended.

mod api;
mod ask;
mod ask_openai;
mod chat;
mod http;
mod messages;
mod plan;
mod responses;
mod server;

pub(crate) use server::serve;
