//! The `tharsis` program. This file wires and does nothing else.

mod arguments;
mod commands;
mod configuration;
#[cfg(test)]
#[path = "../../../fuzz/harness.rs"]
mod fuzz;
mod mail;
mod output;
mod signals;
mod telemetry;

use std::process::ExitCode;

use crate::{
    arguments::Arguments,
    commands::Context,
    configuration::Configuration,
    output::{Exit, Failure, Output},
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match Arguments::read() {
        Ok(arguments) => {
            let json = arguments.global.json;
            run(arguments)
                .unwrap_or_else(|failure| failure.tell(json))
                .into()
        }
        Err(exit) => exit.into(),
    }
}

fn run(arguments: Arguments) -> Result<Exit, Failure> {
    #[cfg(debug_assertions)]
    configuration::arm_failpoints()?;
    let configuration = Configuration::load(&arguments.global)?;
    telemetry::start(&configuration)?;
    let context = Context {
        configuration,
        output: Output {
            json: arguments.global.json,
        },
    };
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?
        .block_on(commands::run(&context, arguments.command))
}
