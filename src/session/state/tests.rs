//! The state machine against a world of its own: any order of requests, faults and answers, with the books checked.

mod act;
mod agent;
mod books;
mod disk;
mod outside;
mod rules;
mod stuck;
mod world;

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::json;

use self::act::{Act, Death, Lie, act};
use self::world::World;
use super::*;
use crate::agent::adapter::Output;
use crate::domain::PromptState;
