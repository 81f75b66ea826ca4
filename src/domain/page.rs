//! One page of a list.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A page: `next` is the `after` of the following one, absent on the last.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Page<T> {
    /// The items, in the list's order.
    pub items: Vec<T>,
    /// Pass as `after` to read on; `null` when there is no more.
    pub next: Option<String>,
}
