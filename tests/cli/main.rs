//! The command line: the real program against the real daemon.

#[path = "../support/mod.rs"]
mod support;

mod chat;
mod commands;
mod doctor;
mod errors;
mod program;
mod routes;
mod screen;
mod shell;
mod turns;
