//! Access.

use super::Line;

const API: &str = "tests/api/access.rs";
const TOKENS: &str = "tests/access/tokens.rs";
const SOCKETS: &str = "tests/access/sockets.rs";
const TLS: &str = "tests/access/tls.rs";

pub(super) const LINES: &[Line] = &[Line {
    says: "Token, socket, Host and Origin rules as in the design; several named tokens with scopes (`read`, `prompt`, \
           `admin`), made, listed and revoked by `wharf token`, live. TLS by file for non-loopback. A rate and size limit \
           on everything that a client sends. WebSocket and SSE carry the same events; pings; a slow reader is never \
           dropped and never costs others.",
    shown: &[
        (
            "Token, socket",
            &[
                (API, "tcp_needs_the_token_and_a_wrong_one_is_refused_everywhere"),
                ("src/api/tests/serving.rs", "the_socket_needs_no_token_and_tcp_does"),
            ],
        ),
        (
            "Host and Origin rules as in the design",
            &[
                (API, "another_sites_page_gets_nothing"),
                (SOCKETS, "a_websocket_needs_token_host_and_origin_as_any_request"),
            ],
        ),
        (
            "several named tokens with scopes (`read`, `prompt`, `admin`)",
            &[(TOKENS, "each_scope_includes_the_one_before_and_no_more")],
        ),
        (
            "made, listed and revoked by `wharf token`",
            &[(TOKENS, "tokens_are_made_listed_rotated_and_revoked_by_the_command_line")],
        ),
        ("live", &[(TOKENS, "a_revoked_token_is_refused_at_once_and_its_open_streams_end")]),
        (
            "TLS by file for non-loopback",
            &[(TLS, "beyond_loopback_needs_tls"), (TLS, "tls_is_spoken_and_its_certificate_read_again_at_sighup")],
        ),
        (
            "A rate and size limit on everything that a client sends",
            &[
                ("tests/access/rates.rs", "who_asks_too_much_is_told_when_to_ask_again_and_nobody_else_is"),
                ("tests/api/bad_input.rs", "a_body_of_100_mb_is_refused_at_once"),
                ("src/api/tests.rs", "a_body_beyond_the_limit_is_refused_before_it_is_read"),
            ],
        ),
        ("WebSocket and SSE carry the same events", &[(SOCKETS, "a_websocket_carries_the_same_events_and_is_resumed")]),
        ("pings", &[("src/api/sse.rs", "frames_go_through_untouched_and_silence_is_broken")]),
        (
            "a slow reader is never dropped and never costs others",
            &[
                (SOCKETS, "a_slow_reader_is_never_dropped_and_costs_nobody_else"),
                ("tests/api/streams.rs", "everyone_gets_everything_once_and_a_slow_one_costs_nobody_anything"),
            ],
        ),
    ],
}];
