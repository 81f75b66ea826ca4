//! wharf-model-server [--listen ADDR:PORT] [--delay MILLISECONDS]: the tests' model API as a program.

#[path = "mod.rs"]
mod model_server;

use std::{env, io, net::TcpListener, process::ExitCode, time::Duration};

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("wharf-model-server: {reason}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), String> {
    let mut listen = "0.0.0.0:8080".to_owned();
    let mut delay = Duration::from_millis(200);
    let mut args = env::args().skip(1);
    while let Some(flag) = args.next() {
        let value = args.next().ok_or_else(|| format!("{flag} needs a value"))?;
        match flag.as_str() {
            "--listen" => listen = value,
            "--delay" => {
                delay = Duration::from_millis(value.parse().map_err(|_| format!("--delay: {value} is no number"))?);
            }
            _ => return Err(format!("unknown flag {flag}")),
        }
    }
    let listener = TcpListener::bind(&listen).map_err(|error| format!("{listen}: {error}"))?;
    model_server::serve(&listener, delay, io::stdout()).map_err(|error| error.to_string())
}
