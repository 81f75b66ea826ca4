//! The demo agent: an ACP agent that needs no key and no network.

fn main() -> std::process::ExitCode {
    wharf::demo::run()
}
