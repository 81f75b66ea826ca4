//! Sessions: the state machine, its actor, the queue, the log and its subscribers, and the manager over all of them.

mod error;
mod manager;
mod state;
mod view;

pub use error::SessionError;
pub use manager::{Accepted, Cancelled, Created, EventPage, Sessions, Subscription};
pub use view::{NewPrompt, NewSession, PermissionAnswer, SessionChanges, SessionFilter, SessionView, WorkspaceChoice};
