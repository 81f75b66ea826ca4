//! Every agent through the same scenarios, from outside: one table, a test for each of its cells.

#[path = "../support/mod.rs"]
mod support;

mod agents;
mod conversation;
mod death;
mod failures;
mod permission;
mod scene;
mod stopping;
mod strange;

/// The tests of one agent: a row of the table.
macro_rules! cells {
    ($agent:ident: $($room:ident { $($scenario:ident)* })*) => {
        $($(
            #[tokio::test(flavor = "multi_thread")]
            async fn $scenario() {
                Box::pin(crate::$room::$scenario(&crate::agents::$agent)).await;
            }
        )*)*
    };
}

/// The table: whoever is in it goes through everything.
macro_rules! table {
    ($($name:ident $agent:ident)*) => {
        $(mod $name {
            cells! { $agent:
                conversation { a_turn a_tool_call a_second_prompt_is_queued another_model a_large_prompt a_large_output }
                permission { allowed denied allowed_for_good }
                stopping { cancel_while_streaming cancel_inside_a_tool }
                failures { the_api_answers_400 the_api_answers_500 }
                death { the_agent_is_killed a_crash_loop_is_stopped the_daemon_is_killed the_container_is_removed }
            }
        })*
    };
}

table! {
    claude CLAUDE
    codex CODEX
    demo DEMO
    opencode OPENCODE
}
