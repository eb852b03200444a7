//! The binary: arguments, a runtime, an exit code.
//!
//! Gets: the command line. Gives: an exit code of `cli`. Never: knows what a command does.

use std::process::ExitCode;
use std::time::Duration;

use ftps_gateway::cli;

fn main() -> ExitCode {
    let command = match cli::parse(std::env::args_os()) {
        Ok(command) => command,
        Err(code) => return code,
    };
    // Worker threads: one for each core, tokio's default.
    match tokio::runtime::Builder::new_multi_thread().enable_all().thread_name("ftps-gateway").build() {
        Ok(runtime) => {
            let code = runtime.block_on(cli::run(command));
            // What blocks still, such as a password being hashed for a session that is gone, is not waited for.
            runtime.shutdown_timeout(Duration::from_secs(1));
            code
        }
        Err(error) => cli::fault(&format!("no runtime: {error}; look at the limits on threads and open files")),
    }
}
