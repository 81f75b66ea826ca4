//! Pure data that every room shares: ids, records, events; no I/O and no other room's types.

mod event;
mod id;
mod page;
mod permission;
mod prompt;
mod sealed_bytes;
mod session;
mod setting;
mod time;
mod workspace;

pub use event::{Event, EventData, Run};
pub use id::{InstanceId, InvalidId, PromptNumber, SessionId, SessionKey, WorkspaceId, is_agent_name};
pub use page::Page;
pub use permission::{PermissionOption, PermissionOptionKind, PermissionRecord, PermissionState};
pub use prompt::{PromptRecord, PromptState, TurnError, WhenBusy};
pub use session::{
    AUTOMATED_LABEL, Caps, Dirty, Labels, OutboxEntry, PermissionPolicy, ProcessProgress, Progress, SessionRecord,
    SessionStatus, Spent, TurnOutcome, TurnProgress,
};
pub use setting::{FileSetting, Setting};
pub use time::Timestamp;
pub use workspace::{
    Credentials, ExtraMount, Network, Repo, Setup, SetupFailure, WorkspaceRecord, WorkspaceSpec, WorkspaceStatus,
};
