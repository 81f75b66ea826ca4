//! The description of the API that is committed is the one that the program gives; `make openapi` writes it.

use std::path::Path;

#[test]
fn the_committed_description_is_true() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("openapi.json");
    let now = wharf::api::description();
    if std::env::var_os("WHARF_WRITE_OPENAPI").is_some() {
        std::fs::write(&file, &now).expect("it is written");
    }
    let committed = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(committed == now, "openapi.json is not what the program says of itself: `make openapi` writes it");
}
