//! The rules of workspaces, a test each, named after the rule: against the real daemon, engine and containers.

#[path = "../support/mod.rs"]
mod support;

mod defaults;
mod files;
mod leftovers;
mod lifecycle;
mod reconcile;
mod repository;
mod setup;
mod space;
