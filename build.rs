//! Builds the static programs that run inside containers and embeds tether into the daemon: one file to install, and
//! the tether that a daemon delivers is always the one it was built with.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if env::var_os("CARGO_FEATURE_DAEMON").is_none() {
        return;
    }
    for path in ["Cargo.toml", "Cargo.lock", "src/lib.rs", "src/bin", "src/tether", "src/demo"] {
        println!("cargo::rerun-if-changed={path}");
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let target = env::var("TARGET").expect("cargo sets TARGET");
    let built = build_inside(&out.join("inside"), &target);
    for program in ["wharf-tether", "wharf-demo-agent"] {
        fs::copy(built.join(program), out.join(program)).expect("the program was built");
    }
}

/// Builds with a cargo of its own, in a target directory of its own: the outer one is locked by the outer cargo.
fn build_inside(target_dir: &Path, target: &str) -> PathBuf {
    let mut cargo = Command::new(env::var_os("CARGO").expect("cargo sets CARGO"));
    // The outer build's choices (clippy's wrapper, coverage flags, the target directory) must not leak in.
    for (key, _) in env::vars_os() {
        let key = key.to_string_lossy();
        if (key.starts_with("CARGO_")
            && key != "CARGO_HOME"
            && !key.starts_with("CARGO_NET")
            && !key.starts_with("CARGO_HTTP"))
            || key.starts_with("RUSTC")
            || key == "CLIPPY_ARGS"
        {
            cargo.env_remove(&*key);
        }
    }
    let status = cargo
        .args(["build", "--locked", "--quiet", "--profile", "inside", "--no-default-features", "--features", "inside"])
        .args(["--bin", "wharf-tether", "--bin", "wharf-demo-agent", "--target", target, "--target-dir"])
        .arg(target_dir)
        // Static, so that it runs in an image that holds nothing else; the gnu target, because the musl one is not
        // installed everywhere.
        .env("RUSTFLAGS", "-C target-feature=+crt-static")
        .status()
        .expect("cargo runs");
    assert!(status.success(), "building the programs that run inside containers failed");
    target_dir.join(target).join("inside")
}
